"""Pointwise operators: their cost, and torch's rules for their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kernelite.kernels.loops.ir import RANKS, REDUCTIONS, Dag, Node, Unsupported

COST: Mapping[str, float] = {
    "exp": 8, "expm1": 9, "log": 10, "log1p": 14, "tanh": 12, "erf": 12, "sigmoid": 10, "silu": 10,
    "gelu_erf": 14, "gelu_tanh": 11, "sin": 12, "cos": 12, "pow": 60, "div": 3, "sqrt": 4,
    "rsqrt": 6, "load": 1, "iota": 0, "const": 0,
}  # fmt: skip
"""Vector instructions of each operator, about; others cost 1."""

MEMORY: Mapping[str, tuple[str, str]] = {
    "float32": ("float", "float"), "float64": ("double", "double"),
    "bfloat16": ("uint16_t", "float"), "float16": ("_Float16", "float"),
    "int64": ("int64_t", "int64_t"), "int32": ("int", "int"), "bool": ("uint8_t", "bool"),
    "uint8": ("uint8_t", "int"),
}  # fmt: skip
"""For each dtype: the C++ type in memory and the one computed on."""


def name_of(dtype: torch.dtype) -> str:
    """Torch's word for ``dtype``, without its module."""
    return str(dtype).removeprefix("torch.")


def computed(dtype: torch.dtype) -> str:
    """The C++ type that elements of ``dtype`` are computed on.

    Raises:
        Unsupported: there is none.
    """
    try:
        return MEMORY[name_of(dtype)][1]
    except KeyError:
        raise Unsupported(f"dtype {dtype}") from None


def _category(dtype: str) -> int:
    return {"bool": 0, "int": 1, "int64_t": 1}.get(dtype, 2)


def promoted(values: list[Any], floating: bool = False) -> str:
    """The C++ type that torch's promotion gives ``values``: nodes and Python numbers."""
    nodes = [v for v in values if isinstance(v, Node)]
    ranks = [RANKS.index(n.dtype) for n in nodes if n.shape]
    dtype = RANKS[max(ranks)] if ranks else "bool"
    scalars = [n.dtype for n in nodes if not n.shape]
    scalars += [_scalar_dtype(v) for v in values if not isinstance(v, Node)]
    for scalar in sorted(scalars, key=RANKS.index):
        if _category(scalar) > _category(dtype) or (not ranks and scalar in RANKS[4:]):
            dtype = scalar
    return "float" if floating and _category(dtype) < 2 else dtype


def _scalar_dtype(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) < 2**30 else "int64_t"
    if isinstance(value, float):
        return "float"
    raise Unsupported(f"scalar {value!r}")


def cost(node: Node, known: Mapping[Node, object]) -> float:
    """Vector instructions to compute ``node`` when ``known`` nodes are there already."""
    seen: set[Node] = set()
    stack, total = [node], 0.0
    while stack:
        here = stack.pop()
        if here in seen or here in known or here.op in REDUCTIONS:
            continue
        seen.add(here)
        total += COST.get(here.op, 1.0)
        stack += here.args
    return total


class Ops:
    """Pointwise operators on nodes and Python numbers, with torch's type promotion.

    ``shifts`` asks for means that lose nothing where all values are far from 0 and near each other.
    """

    def __init__(self, dag: Dag, shifts: bool = False) -> None:
        self.dag, self.shifts = dag, shifts

    def node(self, value: Any, dtype: str) -> Node:
        """``value`` as a node of type ``dtype``."""
        if isinstance(value, Node):
            return self.dag.cast(value, dtype)
        return self.dag.const(value, dtype)

    def __call__(self, op: str, *values: Any) -> Node:
        """``op`` on promoted operands; the result has their type."""
        dtype = promoted(list(values))
        if dtype == "bool" and op in ("add", "sub", "mul", "neg"):
            dtype = "int64_t"
        if dtype == "int" and op == "mul":
            dtype = "int64_t"
        return self.dag.pointwise(op, dtype, *(self.node(v, dtype) for v in values))

    def floating(self, op: str, *values: Any) -> Node:
        """``op`` on operands promoted to a floating type."""
        dtype = promoted(list(values), floating=True)
        return self.dag.pointwise(op, dtype, *(self.node(v, dtype) for v in values))

    def compare(self, op: str, *values: Any) -> Node:
        """A comparison of promoted operands; the result is bool."""
        dtype = promoted(list(values))
        return self.dag.pointwise(op, "bool", *(self.node(v, dtype) for v in values))

    def logic(self, op: str, *values: Any) -> Node:
        """A logical operator on operands cast to bool."""
        return self.dag.pointwise(op, "bool", *(self.node(v, "bool") for v in values))

    def where(self, condition: Node, yes: Any, no: Any) -> Node:
        """``yes`` where ``condition``, else ``no``."""
        dtype = promoted([yes, no])
        parts = self.node(condition, "bool"), self.node(yes, dtype), self.node(no, dtype)
        return self.dag.pointwise("where", dtype, *parts)

    def power(self, base: Any, exponent: Any) -> Node:
        """``base ** exponent``, by multiplication or square root where that is exact enough."""
        if isinstance(base, Node) and not isinstance(exponent, Node):
            match float(exponent):
                case 1.0:
                    return base
                case 2.0:
                    return self("mul", base, base)
                case 3.0:
                    return self("mul", self("mul", base, base), base)
                case 4.0:
                    square = self("mul", base, base)
                    return self("mul", square, square)
                case 0.5:
                    return self.floating("sqrt", base)
                case -0.5:
                    return self.floating("rsqrt", base)
                case -1.0:
                    return self.floating("div", 1.0, base)
        return self.floating("pow", base, exponent)
