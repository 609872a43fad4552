"""The launch specification of a native kernel: which values its entry point gets.

It is one JSON object in the source's first comment, behind ``kernelite:``

    // kernelite: {"entry": "softmax", "args": ["in0", "out0",
    //   "i64: in0.shape[0]", "i64: in0.numel // in0.shape[0]", "f32: 1e-6"]}

``args`` are passed in order.  ``inK`` and ``outK`` are pointers to the flat
argument or output K; ``i64:``, ``i32:``, ``f32:`` and ``f64:`` are numbers,
computed from literals, ``inK.shape[i]``, ``inK.stride[i]``, ``inK.numel`` and
``+ - * // %``.  Tensors arrive row-major unless ``layouts`` names other
strides, in elements: ``{"layouts": {"in0": [1, 64]}}``.  ``"headers": "torch"``
lets the source include PyTorch's headers, as generated code does.
"""

from __future__ import annotations

import ast
import ctypes
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelite.kernels.kernel import BuildFailed
from kernelite.problems.tensors import TensorSpec

CTYPES: Mapping[str, type[Any]] = {
    "i64": ctypes.c_int64,
    "i32": ctypes.c_int32,
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
}
OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
POINTER = re.compile(r"(in|out)\d+")


@dataclass(frozen=True, slots=True)
class Launch:
    """A parsed launch specification; the module's docstring has the grammar."""

    entry: str
    args: tuple[str, ...]
    layouts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    headers: str = ""

    def as_comment(self) -> str:
        """The specification as the first line of a C++ source."""
        fields: dict[str, Any] = {"entry": self.entry, "args": list(self.args)}
        if self.layouts:
            fields["layouts"] = {name: list(strides) for name, strides in self.layouts.items()}
        if self.headers:
            fields["headers"] = self.headers
        return f"// kernelite: {json.dumps(fields)}"


def parse(source: str) -> Launch:
    """Read the specification from a source text.

    Raises:
        BuildFailed: there is none, or it does not follow the grammar.
    """
    found = re.search(r"kernelite:\s*(\{)", source)
    if not found:
        raise BuildFailed("no launch specification; the source must begin with // kernelite: {...}")
    text = re.sub(r"\n\s*//", "\n", source[found.start(1) :])
    try:
        fields, _ = json.JSONDecoder().raw_decode(text)
        layouts = {name: tuple(map(int, s)) for name, s in fields.get("layouts", {}).items()}
        args, headers = tuple(map(str, fields["args"])), str(fields.get("headers", ""))
        launch = Launch(str(fields["entry"]), args, layouts, headers)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BuildFailed(f"the launch specification cannot be read: {error!r}") from error
    if unknown := set(fields) - {"entry", "args", "layouts", "headers"}:
        raise BuildFailed(
            f"unknown field in the launch specification: {', '.join(sorted(unknown))}"
        )
    if headers not in ("", "torch"):
        raise BuildFailed(f"unknown headers {headers!r} in the launch specification; known: torch")
    for argument in launch.args:
        kind = argument.partition(":")[0].strip()
        if kind not in CTYPES and not POINTER.fullmatch(kind):
            raise BuildFailed(
                f"launch argument {argument!r} is neither a pointer nor a typed number"
            )
    return launch


def numbers(
    launch: Launch, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> list[Any | str]:
    """Arguments in order: a ctypes number, or the name of a pointer to fill in per call.

    Raises:
        BuildFailed: an expression or a layout names what is not there.
    """
    values: dict[str, TensorSpec] = {f"in{i}": spec for i, spec in enumerate(inputs)}
    values |= {f"out{i}": spec for i, spec in enumerate(outputs)}
    for name, strides in launch.layouts.items():
        if name not in values or len(strides) != len(values[name].shape):
            raise BuildFailed(f"layout of {name!r}: the problem has no such tensor of that rank")
    bound: list[Any | str] = []
    for argument in launch.args:
        kind, colon, expression = argument.partition(":")
        if not colon:
            if kind not in values:
                raise BuildFailed(f"launch argument {kind!r}: the problem has no such tensor")
            bound.append(kind)
            continue
        try:
            tree = ast.parse(expression.strip(), mode="eval").body
            bound.append(_number(CTYPES[kind.strip()], _evaluate(tree, values)))
        except (SyntaxError, LookupError, TypeError, ValueError, ArithmeticError,
                RecursionError, MemoryError) as error:  # fmt: skip
            raise BuildFailed(f"launch argument {argument!r}: {error}") from error
    return bound


def _number(kind: type[Any], value: Any) -> Any:
    """The value in a C type, which would cut off what does not fit."""
    number = kind(value)
    if isinstance(value, int) and isinstance(number.value, int) and number.value != value:
        raise OverflowError(f"{value} does not fit")
    return number


def _evaluate(node: ast.expr, values: Mapping[str, TensorSpec]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_evaluate(left, values), _evaluate(right, values))
        case ast.Subscript(value=value, slice=index):
            return _evaluate(value, values)[_evaluate(index, values)]
        case ast.Attribute(value=ast.Name(id=name), attr="shape" | "stride" | "numel" as attr):
            return getattr(values[name], attr)
    raise TypeError(f"cannot use {ast.unparse(node)!r} here")
