"""The host code of a wrapper that Inductor wrote, as plain Python: ``run(*flat_arguments)``.

The wrapper's function is read as a syntax tree, statement by statement;
one of a form that is not known makes the whole of it `NotUnderstood`.  A call
of a library stays a call of PyTorch's, and its line says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

import torch

from kernelite.agent.proposers._inductor_kernels import Kernel
from kernelite.agent.proposers._inductor_wrapper import NotUnderstood

#: What guards the wrapper's own doings, or sets a stream that Triton finds itself.
IDLE = frozenset("assert_alignment get_raw_stream copy_if_misaligned clear set_device".split())
INDENT = "    "


class Launcher:
    """Reads the function ``call`` of a wrapper.

    Attributes:
        inputs: Names of the flat arguments, hidden buffers behind them.
        lines: Of ``run``, without indentation.
        helpers: Names of our functions that they call.
    """

    def __init__(self, kernels: Mapping[str, Kernel]) -> None:
        self.kernels = kernels
        self.inputs: list[str] = []
        self.lines: list[str] = []
        self.helpers: set[str] = set()

    def read(self, body: Sequence[ast.stmt]) -> None:
        """Every statement in order.

        Raises:
            NotUnderstood: one is of another form.
        """
        for statement in body:
            self.lines += self._statement(statement)

    def _statement(self, node: ast.stmt) -> Iterator[str]:
        match node:
            case ast.With(body=body):
                self.read(body)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Name(id="args")):
                self.inputs = [ast.unparse(name) for name in names]
                yield f"device = {self.inputs[0]}.device"
            case ast.Assign(value=ast.Call() as call) | ast.Expr(value=ast.Call() as call) if (
                _name(call) in IDLE
            ):
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="assert_size_stride"), args=args)):
                self.helpers.add("_placed")
                name, *look = map(ast.unparse, args[:3])
                yield f"{name} = _placed({name}, {', '.join(look)})"
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="run"),
                                         args=args)) if name in self.kernels:  # fmt: skip
                yield from self._launch(name, [self._value(arg) for arg in args])
            case ast.Expr(value=ast.Call() as call):
                yield self._library(call, "")
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if _is_library(
                call
            ):
                yield self._library(call, f"{name} = ")
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield f"{name} = {self._value(value)}"
            case ast.Delete():
                yield ast.unparse(node)
            case ast.Return(value=ast.Tuple(elts=results)):
                yield f"return ({', '.join(map(self._value, results))},)"
            case _:
                raise NotUnderstood(ast.unparse(node).strip().splitlines()[0][:200])

    def _value(self, node: ast.expr) -> str:
        """A tensor, a view of one, a new one, or arithmetic of sizes."""
        match node:
            case ast.Call(func=ast.Name(id="empty_strided_cuda"), args=[shape, stride, dtype]):
                look = ", ".join(map(ast.unparse, (shape, stride)))
                return f"torch.empty_strided({look}, dtype={ast.unparse(dtype)}, device=device)"
            case ast.Call(func=ast.Name(id="reinterpret_tensor"), args=[inner, *look]):
                self.helpers.add("_view")
                return f"_view({self._value(inner)}, {', '.join(map(ast.unparse, look))})"
            case ast.Call(func=ast.Attribute(attr="size" | "stride"), args=[]):
                return ast.unparse(node)
        for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
            if _name(call) not in ("max", "min"):
                raise NotUnderstood(ast.unparse(node)[:200])
        return ast.unparse(node)

    def _launch(self, name: str, values: Sequence[str]) -> Iterator[str]:
        kernel = self.kernels[name]
        known = dict(zip(kernel.parameters, values, strict=False))
        extra = values[len(kernel.parameters) :]
        yield f"grid = lambda meta: ({', '.join(_grid(kernel, known, extra))},)"
        yield f"{name}[grid]({', '.join(known.values())}, **{name}_options)"

    def _library(self, call: ast.Call, target: str) -> str:
        name = _name(call)
        function = ast.unparse(call.func)
        if not _is_library(call):
            raise NotUnderstood(ast.unparse(call)[:200])
        if function.startswith("extern_kernels."):
            if not hasattr(torch, name):
                raise NotUnderstood(f"a call of {function}")
            function = f"torch.{name}"
        else:
            name = function.removeprefix("torch.ops.aten.").partition(".")[0]
        given = [self._value(arg) for arg in call.args]
        given += [f"{k.arg}={self._value(k.value)}" for k in call.keywords]
        return f"{target}{function}({', '.join(given)})  # library: aten.{name}"


def _is_library(call: ast.Call) -> bool:
    return ast.unparse(call.func).startswith(("extern_kernels.", "torch.ops.aten."))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _grid(kernel: Kernel, known: Mapping[str, str], extra: Sequence[str]) -> Iterator[str]:
    """The number of programs along each axis, as the launchers of Inductor's runtime have it."""

    def blocks(axis: str) -> str:
        block = f"{axis.upper()}BLOCK"
        if not any(f"{block}=" in one for one in kernel.options):
            return known[f"{axis}numel"]
        return f'triton.cdiv({known[f"{axis}numel"]}, meta["{block}"])'

    match kernel.grid:
        case "Grid1D" | "Grid2D" | "Grid3D":
            yield from map(blocks, "xyz"[: int(kernel.grid[4])])
        case "Grid2DWithYZOverflow":
            yield blocks("x")
            # No GPU has more than 65,535 programs along an axis but the first.
            slices = f"triton.cdiv({blocks('y')}, 65535)"
            yield f"triton.cdiv({blocks('y')}, max({slices}, 1))"
            yield slices
        case "FixedGrid":
            yield from extra
        case _:
            raise NotUnderstood(f"a grid of the kind {kernel.grid}")
