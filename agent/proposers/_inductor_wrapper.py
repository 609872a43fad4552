"""What a wrapper that Inductor wrote for the CPU does: allocate, call, reuse, return.

The wrapper is a Python module around C++ kernels.  It is read as a syntax
tree and never run; a statement of any other form, such as a call into a
library, makes the whole wrapper `NotUnderstood`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch

from kernelite.errors import KerneliteError
from kernelite.problems.tensors import TensorSpec

HEADER = "#include <torch/csrc/inductor/cpp_prefix.h>"
BEGINNING = re.compile(rf'\s*{re.escape(HEADER)}\s*extern "C"\s+void\s+kernel\s*(?=\()')
POINTER = re.compile(r"(const )?[A-Za-z_][\w:]*\*")
CHECKS = ("assert_size_stride", "assert_alignment")


class NotUnderstood(KerneliteError):
    """The wrapper does something that is not known here; the text says what."""


@dataclass(frozen=True, slots=True)
class Function:
    """One C++ kernel: the C++ types of its pointers, and its text from the parameters on."""

    types: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """A tensor in a storage; ``offset`` in elements.  ``look`` is None for an input as it came."""

    storage: str
    look: TensorSpec | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Allocate:
    """A storage of this many bytes begins to live."""

    storage: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Free:
    """No name refers to the storage any more."""

    storage: str


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel with its arguments."""

    function: str
    views: tuple[View, ...]


Step = Allocate | Free | Call


@dataclass(slots=True)
class Program:
    """The wrapper's steps in order.

    Attributes:
        functions: The C++ kernels by name.
        inputs: Number of inputs; their storages are called ``in0``, ``in1``, ...
        returned: The outputs in order.
    """

    functions: Mapping[str, Function]
    inputs: int = 0
    steps: list[Step] = field(default_factory=list)
    returned: tuple[View, ...] = ()


def read(source: str) -> Program:
    """The program of a wrapper's source.

    Raises:
        NotUnderstood: it holds anything but kernels, allocations, views and their calls.
    """
    tree = ast.parse(source)
    bodies = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "call"]
    if len(bodies) != 1:
        raise NotUnderstood(f"{len(bodies)} functions named call; expected one")
    functions = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(attr="cpp_pybinding"), args=[types, text]),
            ):
                functions[name] = _function(types, text)
    reader = _Reader(Program(functions))
    for statement in bodies[0].body:
        reader.statement(statement)
    if not reader.program.returned:
        raise NotUnderstood("the wrapper returns nothing")
    return reader.program


def _function(types: ast.expr, text: ast.expr) -> Function:
    kinds = tuple(map(str, ast.literal_eval(types)))
    source = str(ast.literal_eval(text))
    beginning = BEGINNING.match(source)
    if (
        not beginning
        or "#include" in source[beginning.end() :]
        or 'extern "C"' in source[beginning.end() :]
    ):
        raise NotUnderstood("a kernel's text is not one header and one function")
    if not all(POINTER.fullmatch(kind) for kind in kinds):
        raise NotUnderstood(f"a kernel takes more than pointers: {', '.join(kinds)}")
    return Function(kinds, source[beginning.end() :].strip())


class _Reader:
    """Which name means which part of which storage, statement by statement."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names: dict[str, View] = {}

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Name(id="args")):
                self.program.inputs = len(names)
                for index, name in enumerate(names):
                    self.names[ast.unparse(name)] = View(f"in{index}", None)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.bind(name, value)
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=ast.Name(id="args"), attr="clear"))
            ):
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id=check))) if check in CHECKS:
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=arguments, keywords=[])) if (
                name in self.program.functions
            ):
                views = tuple(self.view(argument) for argument in arguments)
                if len(views) != len(self.program.functions[name].types):
                    raise NotUnderstood(f"arguments of {ast.unparse(node)}")
                self.program.steps.append(Call(name, views))
            case ast.Delete(targets=targets):
                for target in targets:
                    self.delete(ast.unparse(target))
            case ast.Return(value=ast.Tuple(elts=results)):
                self.program.returned = tuple(self.view(result) for result in results)
            case _:
                raise NotUnderstood(ast.unparse(node).strip().splitlines()[0][:200])

    def bind(self, name: str, value: ast.expr) -> None:
        """A new storage, or a new name or view of an old one."""
        old = self.names.get(name)
        match value:
            case ast.Call(
                func=ast.Name(id="empty_strided_cpu"), args=[shape, stride, dtype], keywords=[]
            ):
                look = _look(shape, stride, dtype)
                storage = f"storage{sum(isinstance(s, Allocate) for s in self.program.steps)}"
                self.program.steps.append(Allocate(storage, storage_bytes(look)))
                self.names[name] = View(storage, look)
            case _:
                self.names[name] = self.view(value)
        if old is not None:
            self.release(old)

    def view(self, node: ast.expr) -> View:
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Call(
                func=ast.Name(id="reinterpret_tensor"),
                args=[inner, shape, stride, offset],
                keywords=[],
            ):
                base = self.view(inner)
                dtype = base.look.dtype if base.look else ""
                look = TensorSpec(_numbers(shape), _numbers(stride), dtype)
                (start,) = _numbers(ast.Tuple(elts=[offset]))
                return View(base.storage, look, start)
        raise NotUnderstood(ast.unparse(node)[:200])

    def delete(self, name: str) -> None:
        if name not in self.names:
            raise NotUnderstood(f"del {name}")
        self.release(self.names.pop(name))

    def release(self, view: View) -> None:
        if all(other.storage != view.storage for other in self.names.values()):
            self.program.steps.append(Free(view.storage))


def storage_bytes(look: TensorSpec) -> int:
    """Size of the smallest storage that holds a tensor of this look."""
    if not prod(look.shape):
        return 0
    last = sum((n - 1) * step for n, step in zip(look.shape, look.stride, strict=True))
    kind: torch.dtype = getattr(torch, look.dtype)
    return (last + 1) * kind.itemsize


def _look(shape: ast.expr, stride: ast.expr, dtype: ast.expr) -> TensorSpec:
    match dtype:
        case ast.Attribute(value=ast.Name(id="torch"), attr=name):
            return TensorSpec(_numbers(shape), _numbers(stride), name)
    raise NotUnderstood(f"dtype {ast.unparse(dtype)}")


def _numbers(node: ast.expr) -> tuple[int, ...]:
    try:
        found = tuple(ast.literal_eval(node))
    except (ValueError, TypeError) as error:
        raise NotUnderstood(f"not a constant: {ast.unparse(node)}") from error
    if not all(type(item) is int for item in found):
        raise NotUnderstood(f"not whole numbers: {ast.unparse(node)}")
    return found
