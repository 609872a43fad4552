"""Triton's text of expressions: literals, operators, elements of memory."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import isinf, isnan
from pathlib import Path

from kernelite.kernels.loops.body import Language, bare
from kernelite.kernels.loops.ir import Node, Unsupported

HELPERS = Path(__file__).with_name("_loops_body.py")
TYPES = {"bool": "tl.int1", "int": "tl.int32", "int64_t": "tl.int64", "float": "tl.float32"}
"""Triton's type of what is computed on; there is no double."""
UNCHANGED = ("float32", "int64", "int32", "bool")
"""Dtypes in memory that are computed on as they are."""
NAN_TOO = ", propagate_nan=tl.PropagateNan.ALL"
TRITON: Mapping[str, str] = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})",
    "neg": "(-{})", "not": "(~{})", "bitwise_not": "(~{})",
    "and": "({} & {})", "or": "({} | {})", "xor": "({} ^ {})",
    "eq": "({} == {})", "ne": "({} != {})", "lt": "({} < {})", "le": "({} <= {})",
    "gt": "({} > {})", "ge": "({} >= {})", "where": "tl.where({}, {}, {})",
    "to_bool": "({} != 0)",
} | {f"to_{name}": f"{{}}.to({kind})" for name, kind in TYPES.items() if name != "bool"} | {
    name: f"tl.{name}({{}})"
    for name in ("abs", "sqrt", "rsqrt", "exp", "log", "erf", "sigmoid", "sin", "cos", "floor",
                 "ceil")
} | {
    name: f"_{name}({{}})"
    for name in ("expm1", "log1p", "tanh", "silu", "gelu_erf", "gelu_tanh", "trunc", "round")
}  # fmt: skip
"""Each pointwise operator over the texts of its operands; ``pow`` has none that is exact."""


def supported(nodes: Iterable[Node]) -> None:
    """Check that each of ``nodes`` can be written.

    Raises:
        Unsupported: one cannot.
    """
    leaves = ("load", "iota", "const", "maximum", "minimum", "sum", "prod", "max", "min", "any",
              "all", "top")  # fmt: skip
    for node in nodes:
        if node.dtype not in TYPES or (node.op not in TRITON and node.op not in leaves):
            raise Unsupported(f"{node.op} of {node.dtype} in Triton")


def literal(value: float, dtype: str) -> str:
    """``value`` as a literal of type ``dtype``."""
    if dtype == "bool":
        return str(bool(value))
    if dtype != "float":
        return f"({int(value)})" if value < 0 else str(int(value))
    if isnan(value) or isinf(value):
        return f'float("{value}")'
    return f"({value!r})" if value < 0 else repr(value)


def operation(node: Node, operands: Sequence[str]) -> str:
    """A pointwise node as an expression."""
    if all(arg.op == "const" for arg in node.args):
        operands = [f"tl.full((), {text}, {TYPES[arg.dtype]})"
                    for arg, text in zip(node.args, operands, strict=True)]  # fmt: skip
    if node.op in ("maximum", "minimum"):
        nan = NAN_TOO if node.dtype == "float" else ""
        return f"tl.{node.op}({', '.join(operands)}{nan})"
    text = TRITON[node.op].format(*operands)
    if node.op == "where" and {arg.op for arg in node.args[1:]} == {"const"}:
        return f"{text}.to({TYPES[node.dtype]})"
    return text


def definition(node: Node, name: str, text: str) -> str:
    """The statement that defines ``name``."""
    return f"{name} = {text}"


def read_at(name: str, where: str, mask: str) -> str:
    """Elements of an argument; 0 where the mask, if there is one, has none."""
    return f"tl.load({name} + {where}, {mask}, 0)" if mask else f"tl.load({name} + {where})"


def write_at(name: str, where: str, text: str, mask: str) -> str:
    """The statement that stores ``text`` where the mask, if there is one, allows it."""
    return f"tl.store({name} + {where}, {bare(text)}{f', {mask}' if mask else ''})"


def from_memory(text: str, memory: str, dtype: str) -> str:
    """An element read from memory of dtype ``memory``, as the type computed on."""
    return text if memory in UNCHANGED else f"{text}.to({TYPES[dtype]})"


@cache
def _functions() -> Mapping[str, str]:
    """The text of each function in `HELPERS`, by name."""
    text = HELPERS.read_text()
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            head = "@triton.jit\n" if node.decorator_list else ""
            found[node.name] = f"{head}{ast.get_source_segment(text, node)}\n"
    return found


def helpers(source: str) -> list[str]:
    """The text of those functions that ``source`` calls."""
    named = set(re.findall(r"\b_\w+", source))
    return [text for name, text in _functions().items() if name in named]


TRITON_LANGUAGE = Language(operation, definition)
