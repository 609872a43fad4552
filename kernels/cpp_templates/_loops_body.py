"""C++ of expressions: literals, operands, operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf, isnan

from kernelite.kernels.loops.body import Language
from kernelite.kernels.loops.ir import RANKS, Node
from kernelite.kernels.loops.ops import MEMORY

CXX: Mapping[str, str] = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})",
    "neg": "(-{})", "not": "(!{})", "and": "({} & {})", "or": "({} | {})", "xor": "({} ^ {})",
    "eq": "({} == {})", "ne": "({} != {})", "lt": "({} < {})", "le": "({} <= {})",
    "gt": "({} > {})", "ge": "({} >= {})", "where": "({} ? {} : {})",
    "maximum": "kl_max({}, {})", "minimum": "kl_min({}, {})", "pow": "kl_pow({}, {})",
    "floor": "kl_floor({})", "ceil": "kl_ceil({})", "trunc": "kl_trunc({})",
    "round": "kl_round({})", "to_bool": "({} != 0)", "bitwise_not": "(~{})",
} | {f"to_{name}": f"static_cast<{name}>({{}})" for name in RANKS[1:]} | {
    name: f"kl_{name}({{}})"
    for name in ("abs", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "tanh", "erf",
                 "sigmoid", "silu", "gelu_erf", "gelu_tanh", "sin", "cos")
}  # fmt: skip
"""C++ of each pointwise operator over atoms."""


def literal(value: float, dtype: str) -> str:
    """``value`` as a C++ literal of type ``dtype``."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype == "int64_t":
        return f"int64_t({value})"
    if dtype == "int":
        return str(int(value))
    if isnan(value):
        return "kl_nan" if dtype == "float" else "double(kl_nan)"
    if isinf(value):
        name = "kl_inf" if dtype == "float" else "double(kl_inf)"
        return name if value > 0 else f"(-{name})"
    text = f"{value!r}f" if dtype == "float" else repr(value)
    return f"({text})" if value < 0 else text


def from_memory(text: str, memory: str) -> str:
    """An element read from memory of dtype ``memory``, as the type computed on."""
    stored, computed = MEMORY[memory]
    if memory == "bfloat16":
        return f"kl_from_bfloat16({text})"
    if memory == "bool":
        return f"({text} != 0)"
    return text if stored == computed else f"static_cast<{computed}>({text})"


def to_memory(text: str, dtype: str, memory: str) -> str:
    """A value of C++ type ``dtype`` as it is stored in memory of dtype ``memory``."""
    stored, _ = MEMORY[memory]
    if memory == "bfloat16":
        return f"kl_to_bfloat16({text})"
    if memory == "bool" and dtype != "bool":
        return f"({text} != 0)"
    return text if stored == dtype else f"static_cast<{stored}>({text})"


def operation(node: Node, operands: Sequence[str]) -> str:
    """A pointwise node as an expression."""
    return CXX[node.op].format(*operands)


def definition(node: Node, name: str, text: str) -> str:
    """The statement that defines ``name``."""
    return f"const {node.dtype} {name} = {text};"


CPP = Language(operation, definition)
