"""Weights that are computed from codes: integers, packed or not, with scales and zero points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import fields, is_view, op, scalar, shape_of
from kernelite.kernels.matching.source import declared_stride

NIBBLE = 15
ARITHMETIC = ("add", "sub", "mul", "div")
COPIES = ("clone", "contiguous")
CASTS = ("to", "_to_copy", "type_as")


@dataclass(frozen=True, slots=True)
class Leaf:
    """Elements of an argument; four bits of them if there is a ``shift``.

    Attributes:
        place: Where the element lies.
        shift: By how many bits it is shifted right before its last four are taken: what a
            layout says of places, this one says of bits.
    """

    root: fx.Node
    place: Layout
    shift: Layout | None = None

    def moved(self, change: Callable[[Layout], Layout | None]) -> Leaf | None:
        """The leaf under a change of layout; None if there is none."""
        place = change(self.place)
        shift = None if self.shift is None else change(self.shift)
        if place is None or (self.shift is not None and shift is None):
            return None
        return Leaf(self.root, place, shift)


Expression = Leaf | float | tuple[Any, ...]
"""A leaf, a number, or an operator's name before two expressions."""


def leaves(value: Expression) -> Iterator[Leaf]:
    """The leaves of an expression, in its order."""
    if isinstance(value, Leaf):
        yield value
    elif isinstance(value, tuple):
        for part in value[1:]:
            yield from leaves(part)


def moved(value: Expression, change: Callable[[Layout], Layout | None]) -> Expression | None:
    """The expression under a change of all its layouts; None if one cannot have it."""
    if isinstance(value, Leaf):
        return value.moved(change)
    if not isinstance(value, tuple):
        return value
    parts = [moved(part, change) for part in value[1:]]
    return None if None in parts else (value[0], *parts)


def expression(node: Any) -> Expression | None:
    """What ``node`` computes from arguments, element by element; None if it is something else."""
    if not isinstance(node, fx.Node):
        return float(node) if isinstance(node, int | float) else None
    if node.op == "placeholder":
        return Leaf(node, Layout.strided(shape_of(node), declared_stride(node)))
    name = op(node)
    if name in CASTS:
        exact = node.meta["val"].is_floating_point() or not _of(node).is_floating_point()
        return expression(node.args[0]) if exact else None
    if name in COPIES:
        return expression(node.args[0])
    if name == "repeat_interleave":
        return _repeated(node)
    if name == "stack":
        return _stacked(node)
    if is_view(node):
        return _viewed(node)
    return _computed(node) if name in ARITHMETIC else None


def _of(node: fx.Node) -> torch.Tensor:
    value: torch.Tensor = node.all_input_nodes[0].meta["val"]
    return value


def _computed(node: fx.Node) -> Expression | None:
    """Arithmetic of floating-point numbers: that of bytes would wrap around."""
    named, shape = fields(node), shape_of(node)
    if not node.meta["val"].is_floating_point() or named.get("alpha", 1) != 1:
        return None
    if named.get("rounding_mode") is not None:
        return None
    parts = []
    for operand in (named["self"], named["other"]):
        number = scalar(operand)
        found = expression(operand) if number is None else number
        spread = None if found is None else moved(found, lambda own: own.expanded(shape))
        parts.append(spread)
    return None if None in parts else (op(node), *parts)


def _viewed(node: fx.Node) -> Expression | None:
    """A view, read off a stand-in that has its input's shape."""
    named = fields(node)
    parent = node.args[0]
    inner = expression(parent)
    if inner is None or not callable(node.target) or not isinstance(parent, fx.Node):
        return None
    proxy = torch.empty(shape_of(parent), device="meta")
    rest = {key: value for key, value in named.items() if value is not parent}
    if any(isinstance(value, fx.Node) for value in rest.values()):
        return None
    seen = node.target(proxy, **rest)
    if not isinstance(seen, torch.Tensor):
        return None
    view = Layout.strided(seen.shape, seen.stride(), int(seen.storage_offset()))
    return moved(inner, lambda own: own.picked(view))


def _repeated(node: fx.Node) -> Expression | None:
    named = fields(node)
    repeats, axis = named.get("repeats"), named.get("dim")
    inner = expression(named["self"])
    if inner is None or not isinstance(repeats, int) or axis is None:
        return None
    rank = len(shape_of(node))
    return moved(inner, lambda own: own.repeated(axis % rank, repeats))


def _stacked(node: fx.Node) -> Expression | None:
    """The two halves of each byte side by side, the lower one first."""
    named, rank = fields(node), len(shape_of(node))
    halves = [_half(part) for part in named["tensors"]]
    if named["dim"] % rank != rank - 1 or [half and half[1] for half in halves] != [0, 4]:
        return None
    bytes_of = {half[0] for half in halves if half}
    packed = expression(bytes_of.pop())
    if bytes_of or not isinstance(packed, Leaf) or packed.shift is not None:
        return None
    shape = shape_of(node)
    none = Layout(tuple(((size, 0),) if size > 1 else () for size in shape[:-1]))
    place = Layout((*packed.place.dims, ((2, 0),)), packed.place.offset)
    return replace(packed, place=place, shift=Layout((*none.dims, ((2, 4),))))


def _half(node: fx.Node) -> tuple[fx.Node, int] | None:
    """The bytes and by how many bits they are shifted for four of them to be left."""
    while op(node) in CASTS and not node.meta["val"].is_floating_point():
        node = node.all_input_nodes[0]
    name, masked = op(node), False
    if name in ("__and", "bitwise_and"):
        if scalar(fields(node)["other"]) != NIBBLE:
            return None
        node, masked = node.all_input_nodes[0], True
        name = op(node)
    bits = 0
    if name in ("__rshift", "bitwise_right_shift"):
        if scalar(fields(node)["other"]) != 4:
            return None
        node, bits = node.all_input_nodes[0], 4
    whole = node.meta["val"].dtype == torch.uint8
    return (node, bits) if whole and (masked or bits) else None
