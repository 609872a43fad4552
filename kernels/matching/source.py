"""Which flat argument a node reads, through views and cheap element-wise steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import (
    argument,
    fields,
    is_view,
    op,
    scalar,
    shape_of,
)
from kernelite.kernels.matching.terms import C_TYPES, Term

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
NO_ROOTS: Mapping[fx.Node, Layout] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """A node's value: ``scale * expression``, the expression in ``x``, an element of ``root``."""

    root: fx.Node
    layout: Layout
    scale: float = 1.0
    expression: Term = "x"

    @property
    def c_type(self) -> str:
        """The root's element type in C++."""
        return C_TYPES[self.root.meta["val"].dtype]

    @property
    def is_float(self) -> bool:
        """Whether it is a scaled view of float32 numbers."""
        return self.expression == "x" and self.c_type == "float"

    @property
    def term(self) -> Term:
        """The whole value, scale included."""
        return self.expression if self.scale == 1 else ("*", self.scale, self.expression)

    def at(self, layout: Layout | None) -> Source | None:
        """The same values under another layout; None stays None."""
        return None if layout is None else replace(self, layout=layout)

    def times(self, factor: float) -> Source:
        """The values multiplied by a number."""
        return replace(self, scale=self.scale * factor)

    def computed(self, expression: Term) -> Source:
        """The same elements, each put through an expression."""
        return replace(self, expression=expression, scale=1.0)


def declared_stride(node: fx.Node) -> tuple[int, ...]:
    """Strides in which a kernel asks for an argument: its own, row-major if it overlaps itself."""
    value, reach = node.meta["val"], 0
    for step, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size > 1 and step <= reach:
            return row_major(value.shape)
        reach += step * (size - 1)
    return tuple(value.stride())


def source(node: Any, roots: Mapping[fx.Node, Layout] = NO_ROOTS) -> Source | None:
    """How ``node`` reads one argument (or one of ``roots``); None if it does not do just that."""
    if not isinstance(node, fx.Node):
        return None
    if node in roots:
        return Source(node, roots[node])
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.dtype not in C_TYPES:
        return None
    if node.op == "placeholder":
        return Source(node, Layout.strided(value.shape, declared_stride(node)))
    if node.op != "call_function":
        return None
    for rule in (_view, _copy, _scaled, _converted, _compared, _chosen):
        if (found := rule(node, roots)) is not None:
            return found
    return None


def _view(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """A view, by applying it to a row-major stand-in and reading off the strides."""
    call = node
    if node.target is getitem:
        call = node.args[0]  # type: ignore[assignment]
    if not is_view(call) or not callable(call.target):
        return None
    named = fields(call)
    parent = call.args[0] if call.args else named.get("self")
    inner = source(parent, roots)
    if inner is None or not isinstance(parent, fx.Node):
        return None
    proxy = _stand_in(parent)
    rest = {k: _stand_in(v) if isinstance(v, fx.Node) else v
            for k, v in named.items() if v is not parent}  # fmt: skip
    seen = call.target(proxy, **rest)
    if node.target is getitem:
        seen = seen[node.args[1]]
    if not isinstance(seen, torch.Tensor) or (seen is not proxy and seen._base is not proxy):
        return None
    view = Layout.strided(seen.shape, seen.stride(), int(seen.storage_offset()))
    return inner.at(inner.layout.picked(view))


def _stand_in(node: fx.Node) -> torch.Tensor:
    """A row-major tensor without memory, of the node's shape and type."""
    return torch.empty(shape_of(node), dtype=node.meta["val"].dtype, device="meta")


def _copy(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """Operators that return their input's elements in new memory."""
    name = op(node)
    named = fields(node) if name else {}
    if name == "clone" or (name == "dropout" and not (named["train"] and named["p"])):
        return source(node.args[0], roots)
    if name == "repeat_interleave" and isinstance(named.get("repeats"), int):
        inner, axis = source(named["self"], roots), named["dim"]
        if inner is not None and axis is not None:
            return inner.at(inner.layout.repeated(axis % len(inner.layout.dims), named["repeats"]))
    return None


def _scaled(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """Multiplication or division by a number, negation."""
    name = op(node)
    if name == "neg":
        inner = source(node.args[0], roots)
        return inner and inner.times(-1.0)
    if name not in ("mul", "div") or fields(node).get("rounding_mode") is not None:
        return None
    left, right = fields(node)["self"], fields(node)["other"]
    factor = scalar(right)
    if factor is None and name == "mul":
        left, right, factor = right, left, scalar(left)
    inner = source(left, roots)
    if inner is None or factor is None or (name == "div" and factor == 0):
        return None
    scaled = inner.times(factor if name == "mul" else 1.0 / factor)
    return scaled.at(scaled.layout.expanded(shape_of(node)))


def _converted(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """A change of type between the four that masks are made of."""
    if op(node) not in ("to", "_to_copy", "type_as"):
        return None
    inner = source(node.args[0], roots)
    if inner is None:
        return None
    before, after = node.args[0].meta["val"].dtype, node.meta["val"].dtype  # type: ignore[union-attr]
    if before == after:
        return inner
    if after == torch.bool:
        return inner.computed(("!=", inner.term, 0))
    return inner.computed((after, inner.term))


def _compared(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """Comparison with a number, logical not, and sums or differences with a number."""
    name = op(node)
    if name in ("logical_not", "bitwise_not") and node.meta["val"].dtype == torch.bool:
        inner = source(node.args[0], roots)
        return inner and inner.computed(("not", inner.term))
    if name not in (*COMPARISONS, "rsub", "sub", "add") or fields(node).get("alpha", 1) != 1:
        return None
    named = fields(node)
    left, right = named["self"], named["other"]
    number, swapped = scalar(right), name == "rsub"
    if number is None and name in ("add", "sub"):
        left, number, swapped = right, scalar(left), True
    inner = source(left, roots)
    if inner is None or number is None or number != number or shape_of(node) != inner.layout.shape:
        return None
    whole = not left.meta["val"].is_floating_point() and number % 1 == 0
    value = int(number) if whole else number
    if name in COMPARISONS:
        return inner.computed((COMPARISONS[name], inner.term, value))
    sign = "+" if name == "add" else "-"
    pair = (value, inner.term) if swapped else (inner.term, value)
    return inner.computed((sign, *pair))


def _chosen(node: fx.Node, roots: Mapping[fx.Node, Layout]) -> Source | None:
    """One of two numbers, by a condition that an argument gives."""
    named = fields(node) if op(node) in ("where", "masked_fill") else {}
    if op(node) == "where" and "other" in named:
        condition, yes, no = named["condition"], scalar(named["self"]), scalar(named["other"])
    elif op(node) == "masked_fill":
        condition, yes, no = named["mask"], scalar(named["value"]), scalar(named["self"])
    else:
        return None
    inner = source(condition, roots)
    if inner is None or yes is None or no is None:
        return None
    chosen = inner.computed(("choose", inner.term, yes, no))
    return chosen.at(chosen.layout.expanded(shape_of(node)))


def layouts(graph: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    """For a launch: strides of the arguments and the output that are not row-major."""
    nodes = {argument(n): n for n in graph.graph.find_nodes(op="placeholder", sort=True)}
    strides = {name: declared_stride(node) for name, node in nodes.items()}
    values = {name: node.meta["val"] for name, node in nodes.items()}
    (output,) = graph.graph.find_nodes(op="output")
    for position, node in enumerate(output.args[0]):
        values[f"out{position}"] = node.meta["val"]
        strides[f"out{position}"] = tuple(node.meta["val"].stride())
    return {name: own for name, own in strides.items() if own != row_major(values[name].shape)}


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, as `TensorSpec.contiguous_stride` counts them."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
