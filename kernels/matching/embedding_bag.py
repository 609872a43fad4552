"""Does a graph look rows up in tables and add them up by bags?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import constant, fields, is_functional, op, shape_of
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.steps import factor, passed


@dataclass(frozen=True, slots=True)
class Rows:
    """Weighted rows of a table, in the shape of their indices.

    Attributes:
        table: Layout (rows, columns).
        indices: Any layout; its term is the index.
        weights: As ``indices``; None for ones.
        wraps: Whether negative indices count from the end.
    """

    table: Source
    indices: Source
    weights: Source | None = None
    scale: float = 1.0
    wraps: bool = False

    def grouped(self, shape: tuple[int, ...]) -> Rows | None:
        """The same rows, in order, under another shape."""
        indices = self.indices.at(self.indices.layout.regrouped(shape))
        weights = self.weights and self.weights.at(self.weights.layout.regrouped(shape))
        if indices is None or (self.weights is not None and weights is None):
            return None
        return replace(self, indices=indices, weights=weights)


@dataclass(frozen=True, slots=True)
class Bags:
    """Sums of rows, or in each column the largest of them.

    Attributes:
        rows: Indices and weights are (bags, entries), or (1, entries) if there are ``offsets``.
        count: Number of bags.
        divides: Whether a sum is divided by its number of rows.
        padding: The index of rows that do not count; None if there is none.
        offsets: Where each bag begins among the entries; None if all are equally long.
        largest: Whether the bags are no sums; then nothing is divided, and an empty bag is zero.
    """

    rows: Rows
    count: int
    divides: bool = False
    padding: int | None = None
    offsets: Source | None = None
    largest: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Bags and where they go in the output, a layout (bags, columns)."""

    bags: Bags
    out: Layout


def parts(graph: fx.GraphModule) -> list[Part] | None:
    """The parts of the graph's output, or None if it is anything else."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    value = outputs[0].meta["val"] if len(outputs) == 1 else None
    if value is None or value.dtype != torch.float32 or value.stride() != row_major(value.shape):
        return None
    node: fx.Node | None = outputs[0]
    while node is not None and op(node) not in ("cat", "concat", "stack"):
        node = passed(node, kept=0)
    whole = Layout.strided(value.shape, value.stride())
    pieces = [(outputs[0], whole)] if node is None else _joined(node)
    found = [_placed(piece, layout) for piece, layout in pieces]
    good = [part for part in found if part is not None]
    return good if good and len(good) == len(pieces) else None


def _joined(node: fx.Node) -> list[tuple[fx.Node, Layout]]:
    """The inputs of a concatenation or stack, each with its place in the result."""
    named, shape = fields(node), shape_of(node)
    axis, stride, start = named["dim"] % len(shape), row_major(shape), 0
    pieces = []
    for tensor in named["tensors"]:
        own = list(shape_of(tensor))
        if op(node) == "stack":
            own.insert(axis, 1)
        pieces.append((tensor, Layout.strided(own, stride, start * stride[axis])))
        start += own[axis]
    return pieces


def _placed(node: fx.Node, layout: Layout) -> Part | None:
    found = _bags(node)
    if found is None:
        return None
    out = layout.regrouped((found.count, found.rows.table.layout.shape[1]))
    return Part(found, out) if out is not None and out.step(1) in (0, 1) else None


def _bags(node: Any) -> Bags | None:
    """The bags that one node holds, in row-major order."""
    if not isinstance(node, fx.Node):
        return None
    if (number := factor(node)) is not None:
        inner = _bags(number[0])
        if inner is None or (inner.largest and number[1] <= 0):
            return None
        return replace(inner, rows=_times(inner.rows, number[1]))
    for rule in (_fused, _summed, _contracted):
        if (found := rule(node)) is not None:
            return found
    before = passed(node, kept=0)
    return None if before is None else _bags(before)


def _times(rows: Rows, number: float) -> Rows:
    return replace(rows, scale=rows.scale * number)


def _summed(node: fx.Node) -> Bags | None:
    """``rows.sum(1)``, ``rows.mean(1)``, ``rows.amax(1)`` or ``rows.max(1)[0]``."""
    if node.target is getitem and node.args[1] == 0 and op(node.args[0]) == "max":
        node = node.args[0]  # type: ignore[assignment]
    if op(node) not in ("sum", "mean", "amax", "max") or fields(node).get("dim") in (None, []):
        return None
    named, largest = fields(node), op(node).endswith("max")
    shape, dim = shape_of(named["self"]), named["dim"]
    rows = _rows(named["self"])
    axes = sorted(d % len(shape) for d in (dim if isinstance(dim, (list, tuple)) else [dim]))
    if rows is None or axes != list(range(len(shape) - 1 - len(axes), len(shape) - 1)):
        return None
    count, entries = prod(shape[: axes[0]]), prod(shape[axis] for axis in axes)
    grouped = rows.grouped((count, entries))
    if grouped is None or named.get("dtype") not in (None, torch.float32):
        return None
    if largest and rows.scale <= 0:
        return None
    scaled = _times(grouped, 1 / entries if op(node) == "mean" else 1.0)
    return Bags(scaled, count, largest=largest)


def _contracted(node: fx.Node) -> Bags | None:
    """The same as a product: ``weights[:, None] @ rows`` or an einsum over the entries."""
    if op(node) in ("bmm", "matmul"):
        named = fields(node)
        left, right = named["self"], named["other" if op(node) == "matmul" else "mat2"]
        if len(shape_of(right)) < 3 or shape_of(left)[-2:] != (1, shape_of(right)[-2]):
            return None
        if shape_of(left)[:-2] != shape_of(right)[:-2]:
            return None
    elif op(node) == "einsum" and len(fields(node)["tensors"]) == 2:
        equation, (left, right) = fields(node)["equation"].replace(" ", ""), fields(node)["tensors"]
        first, _, rest = equation.partition(",")
        second, _, out = rest.partition("->")
        if len(first) > len(second):
            first, second, left, right = second, first, right, left
        if not second.isalpha() or len(set(second)) != len(second):
            return None
        if (first, out) != (second[:-1], second[:-2] + second[-1]):
            return None
        if shape_of(left) != shape_of(right)[:-1]:
            return None
    else:
        return None
    rows, weights = _rows(right), source(left)
    if rows is None or rows.weights is not None or weights is None:
        return None
    shape = shape_of(right)
    flat = weights.at(weights.layout.regrouped(shape[:-1]))
    grouped = flat and replace(rows, weights=flat).grouped((prod(shape[:-2]), shape[-2]))
    return Bags(grouped, prod(shape[:-2])) if grouped else None


def _rows(node: Any) -> Rows | None:
    """Looked-up rows, perhaps weighted; the node's shape is the indices' and then columns."""
    if not isinstance(node, fx.Node):
        return None
    if (number := factor(node)) is not None:
        inner = _rows(number[0])
        return inner and _times(inner, number[1])
    named = fields(node) if op(node) else {}
    match op(node):
        case "embedding":
            return _looked_up(named["weight"], named["indices"])
        case "index_select" if named["dim"] == 0:
            return _looked_up(named["self"], named["index"])
        case "index" if len(named["indices"]) == 1:
            return _looked_up(named["self"], named["indices"][0], wraps=True)
        case "mul":
            return _weighted(named["self"], named["other"]) or _weighted(
                named["other"], named["self"]
            )
    before = passed(node, kept=1)
    inner = _rows(before)
    return inner and inner.grouped(shape_of(node)[:-1])


def _looked_up(table: Any, indices: Any, wraps: bool = False) -> Rows | None:
    rows, at = source(table), source(indices)
    if rows is None or at is None or not rows.is_float or len(rows.layout.dims) != 2:
        return None
    if at.scale != 1 or indices.meta["val"].dtype not in (torch.int64, torch.int32):
        return None
    # Rows need their columns side by side: they are read as vectors.
    if rows.layout.step(0) is None or rows.layout.step(1) not in (0, 1):
        return None
    return Rows(replace(rows, scale=1.0), at, scale=rows.scale, wraps=wraps)


def _weighted(left: Any, right: Any) -> Rows | None:
    rows, weights = _rows(left), source(right)
    if rows is None or rows.weights is not None or weights is None:
        return None
    shape = shape_of(left)
    if len(weights.layout.dims) > len(shape):
        return None
    layout = weights.layout.expanded(shape)
    if any(stride for _, stride in layout.dims[-1]):
        return None
    return replace(rows, weights=replace(weights, layout=Layout(layout.dims[:-1], layout.offset)))


def _fused(node: fx.Node) -> Bags | None:
    """The first result of ``embedding_bag``, for sums and means."""
    call = node.args[0] if node.target is getitem and node.args[1] == 0 else None
    if not isinstance(call, fx.Node) or op(call) != "embedding_bag":
        return None
    named = fields(call)
    rows, mode = _looked_up(named["weight"], named["indices"]), named["mode"]
    largest = mode == 2
    offsets = named["offsets"]
    count = shape_of(offsets)[0] - bool(named["include_last_offset"])
    if rows is None or count < 1 or (largest and rows.scale <= 0):
        return None
    if (weights := named["per_sample_weights"]) is not None:
        found = source(weights)
        if found is None:
            return None
        rows = replace(rows, weights=found)
    padding = named.get("padding_idx")
    padding = padding if padding is not None and padding >= 0 else None
    entries, fixed = prod(shape_of(named["indices"])), constant(offsets)
    if fixed is None:
        starts, grouped = source(offsets), rows.grouped((1, entries))
        if starts is None or starts.scale != 1 or grouped is None:
            return None
        return Bags(grouped, count, mode == 1, padding, starts, largest)
    uniform = entries % count == 0 and fixed.tolist()[:count] == list(
        range(0, entries, entries // count)
    )
    ends = not named["include_last_offset"] or int(fixed[-1]) == entries
    grouped = rows.grouped((count, entries // count)) if uniform and ends else None
    return Bags(grouped, count, mode == 1, padding, largest=largest) if grouped else None
