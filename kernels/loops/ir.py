"""Tensor expressions whose views have all been pushed down to the memory they read.

A `Node` is one tensor-valued expression with a shape.  `Dag.view` never makes
a node for a view: viewing an expression views its operands, down to loads
whose strides take the view up.  Equal nodes are one object, so comparing
identities finds common subexpressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from kernelite.kernels.loops.views import (
    Expand,
    Permute,
    Reshape,
    Select,
    Slice,
    Unsqueeze,
    View,
    viewed_strides,
)

RANKS = ("bool", "int", "int64_t", "float", "double")
REDUCTIONS = ("sum", "prod", "max", "min", "any", "all", "top")
"""``top`` is a maximum that may overlook NaN, for where NaN comes out anyway."""


class Unsupported(Exception):
    """The graph has something that no loop nest of this template can do."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One tensor expression.

    Attributes:
        op: ``load``, ``iota``, ``const``, ``cat``, ``merge``, one of `REDUCTIONS`, or pointwise.
        args: Operands; those of a pointwise node have the node's own shape.
        shape: A reduction's shape lacks the trailing axes of its operand that it reduces.
        dtype: The C++ type of an element while it is computed on.
        attr: load: (name, dtype in memory, strides, offset); iota: (strides, offset);
            const: the value; cat: the axis; otherwise None.
        key: Position in the order of creation; operands come first.
    """

    op: str
    args: tuple[Node, ...]
    shape: tuple[int, ...]
    dtype: str
    attr: Any
    key: int


class Dag:
    """The nodes of one graph."""

    def __init__(self) -> None:
        self.nodes: dict[Any, Node] = {}
        self.views: dict[tuple[Node, View, int], Node] = {}

    def make(
        self, op: str, args: Sequence[Node], shape: Sequence[int], dtype: str, attr: Any = None
    ) -> Node:
        """The node with these fields, made if there is none yet."""
        kind = (op, tuple(args), tuple(shape), dtype, repr(attr))
        found = self.nodes.get(kind)
        if found is None:
            found = Node(op, kind[1], kind[2], dtype, attr, len(self.nodes))
            self.nodes[kind] = found
        return found

    def const(self, value: Any, dtype: str, shape: Sequence[int] = ()) -> Node:
        """A tensor that has ``value`` everywhere."""
        kind = {"bool": bool, "int": int, "int64_t": int}.get(dtype, float)
        value = kind(value)
        return self.make("const", (), shape, dtype, value)

    def load(
        self, name: str, dtype: str, memory: str, shape: Sequence[int], strides: Sequence[int]
    ) -> Node:
        """Elements of argument ``name``, which has dtype ``memory`` (torch's word)."""
        return self.make("load", (), shape, dtype, (name, memory, _quiet(shape, strides), 0))

    def iota(self, size: int) -> Node:
        """The integers from 0 to ``size - 1``, shape (size,)."""
        return self.make("iota", (), (size,), "int", (_quiet((size,), (1,)), 0))

    def pointwise(self, op: str, dtype: str, *args: Node) -> Node:
        """``op`` applied elementwise after broadcasting."""
        shape = broadcast(*(arg.shape for arg in args))
        return self.make(op, [self.expand(arg, shape) for arg in args], shape, dtype)

    def cast(self, node: Node, dtype: str) -> Node:
        """``node`` as C++ type ``dtype``."""
        if node.dtype == dtype:
            return node
        if node.op == "const":
            return self.const(node.attr, dtype, node.shape)
        return self.pointwise(f"to_{dtype}", dtype, node)

    def expand(self, node: Node, shape: Sequence[int]) -> Node:
        """``node`` broadcast to ``shape``."""
        for _ in range(len(shape) - len(node.shape)):
            node = self.view(node, Unsqueeze(0))
        return node if node.shape == tuple(shape) else self.view(node, Expand(tuple(shape)))

    def reduce(self, op: str, node: Node, axes: Sequence[int]) -> Node:
        """Reduction of ``node`` over ``axes``, which the result lacks."""
        rank = len(node.shape)
        axes = sorted({axis % rank for axis in axes}) if rank else []
        if not axes:
            return node
        kept = [axis for axis in range(rank) if axis not in axes]
        node = self.view(node, Permute((*kept, *axes)))
        return self.make(op, (node,), node.shape[: len(kept)], node.dtype)

    def cat(self, parts: Sequence[Node], axis: int) -> Node:
        """``parts`` behind one another along ``axis``."""
        parts = [part for part in parts if part.shape[axis]]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            raise Unsupported("concatenation of nothing")
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.make("cat", parts, shape, parts[0].dtype, axis)

    def view(self, node: Node, view: View, behind: int = 0) -> Node:
        """``view`` of ``node``; the last ``behind`` axes are not part of what is viewed."""
        asked = (node, view, behind)
        if asked not in self.views:
            try:
                self.views[asked] = self._view(node, view, behind)
            except Unsupported:
                if behind or not isinstance(view, Reshape):
                    raise
                if not merges(node.shape, view.sizes):
                    finer = refined(node.shape, view.sizes)
                    if finer == view.sizes:
                        raise
                    node = self.view(node, Reshape(finer))
                self.views[asked] = self.make("merge", (node,), view.sizes, node.dtype)
        return self.views[asked]

    def _view(self, node: Node, view: View, behind: int) -> Node:
        front = len(node.shape) - behind
        tail = node.shape[front:]
        shape = (*view.shape(node.shape[:front]), *tail)
        if shape == node.shape and isinstance(view, Expand | Reshape):
            return node
        match node.op:
            case "const":
                return self.const(node.attr, node.dtype, shape)
            case "load" | "iota":
                *name, strides, offset = node.attr
                seen = viewed_strides(view, node.shape[:front], strides[:front])
                if seen is None:
                    raise Unsupported(f"{view} needs a copy")
                strides = _quiet(shape, (*seen[0], *strides[front:]))
                return self.make(node.op, (), shape, node.dtype, (*name, strides, offset + seen[1]))
            case "cat":
                return self._view_cat(node, view, behind, shape)
            case "merge":
                return self._view_merge(node, view, behind, shape)
            case op if op in REDUCTIONS:
                reduced = len(node.args[0].shape) - len(node.shape)
                arg = self.view(node.args[0], view, behind + reduced)
                return self.make(op, (arg,), shape, node.dtype)
        args = [self.view(arg, view, behind) for arg in node.args]
        return self.make(node.op, args, shape, node.dtype, node.attr)

    def _view_cat(self, node: Node, view: View, behind: int, shape: tuple[int, ...]) -> Node:
        axis, front = node.attr, len(node.shape) - behind
        if isinstance(view, Slice | Select) and view.axis == axis:
            return self._part_of_cat(node, view, behind)
        new_axis = axis + len(shape) - len(node.shape)
        views: list[View] = [view] * len(node.args)
        if axis < front:
            found = view.axis_after(axis, node.shape[:front])
            if found is None:
                raise Unsupported("reshape across a concatenation")
            new_axis = found
            views = [view.resized(new_axis, part.shape[axis]) for part in node.args]
        parts = [self.view(p, v, behind) for p, v in zip(node.args, views, strict=True)]
        return self.make("cat", parts, shape, node.dtype, new_axis)

    def _part_of_cat(self, node: Node, view: Slice | Select, behind: int) -> Node:
        """The parts that a slice along the concatenated axis meets."""
        axis, begin, found = node.attr, 0, []
        start = view.start if isinstance(view, Slice) else view.index
        step, count = (view.step, view.count) if isinstance(view, Slice) else (1, 1)
        if step != 1:
            raise Unsupported("strided slice across a concatenation")
        for part in node.args:
            size = part.shape[axis]
            low, high = max(start - begin, 0), min(start + count - begin, size)
            if low < high:
                found.append(self.view(part, Slice(axis, low, 1, high - low), behind))
            begin += size
        whole = self.cat(found, axis)
        return self.view(whole, Select(axis, 0), behind) if isinstance(view, Select) else whole

    def _view_merge(self, node: Node, view: View, behind: int, shape: tuple[int, ...]) -> Node:
        inner = node.args[0]
        if isinstance(view, Reshape) and not behind:
            return self.view(inner, view)
        pairs = zip(node.shape, inner.shape, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
        front = view.first(same)
        if front is None or behind > len(node.shape) - same:
            raise Unsupported(f"{view} of a merged axis")
        seen = self.view(inner, front, len(inner.shape) - same)
        return self.make("merge", (seen,), shape, node.dtype)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all of ``shapes`` broadcast to; they are known to fit."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True)
    )


def merges(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    """Whether each axis of ``coarse`` is a run of whole axes of ``fine``."""
    axis = 0
    for size in coarse:
        run = 1
        while run < size and axis < len(fine):
            run *= fine[axis]
            axis += 1
        if run != size:
            return False
    return all(size == 1 for size in fine[axis:])


def refined(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The fewest axes that both shapes, which have as many elements, are merged from.

    Raises:
        Unsupported: there are none.
    """
    found, ones, others = list[int](), list(reversed(one)), list(reversed(other))
    while ones and others:
        left, right = ones.pop(), others.pop()
        small = min(left, right)
        if not small or max(left, right) % small:
            raise Unsupported(f"a reshape of {one} to {other}")
        found.append(small)
        ones += [left // small] if left > small else []
        others += [right // small] if right > small else []
    return tuple(found)


def _quiet(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """``strides`` with 0 where an axis has no second element, so that equal loads compare equal."""
    none = not prod(shape)
    return tuple(
        0 if none or size == 1 else stride for size, stride in zip(shape, strides, strict=True)
    )
