"""From output expressions to loop nests: rows outside, columns inside.

All reductions of a nest depend on the rows only.  Concatenations are gone:
an output that is one becomes one store per part, a reduction of one becomes a
combination of reductions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod

from kernelite.kernels.loops.ir import REDUCTIONS, Dag, Node, Unsupported
from kernelite.kernels.loops.views import (
    Permute,
    Reshape,
    Select,
    Slice,
    reshaped_strides,
)

Shape = tuple[int, ...]
COMBINE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or",
           "all": "and", "top": "maximum"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Store:
    """``node``, broadcast to ``shape``, goes to argument ``name``, which has dtype ``memory``."""

    name: str
    memory: str
    node: Node
    shape: Shape
    strides: Shape
    offset: int = 0


@dataclass(slots=True)
class Nest:
    """Stores that share one loop over ``rows``; node shapes are rows, or rows + columns."""

    rows: Shape
    stores: list[Store] = field(default_factory=list)


def nests(dag: Dag, stores: Iterable[Store]) -> list[Nest]:
    """The loop nests that compute ``stores``, which `plain` has made."""
    found: list[Nest] = []
    ordered = [rows_first(dag, store) for store in stores]
    ranked = [(row_rank(store.node), store) for store in ordered]
    for rank, store in sorted(ranked, key=lambda pair: pair[0] is None):
        store = store if rank is None else _coarse(dag, store, rank)
        shape = store.node.shape
        rows = shape if rank is None else shape[:rank]
        home = next((n for n in found if _fits(n, shape, rank)), None)
        if home is None:
            found.append(home := Nest(rows))
        home.stores.append(store)
    for nest in found:
        local = _Local(dag, len(nest.rows))
        nest.stores = [replace(store, node=local(store.node)) for store in nest.stores]
    return found


def _fits(nest: Nest, shape: Shape, rank: int | None) -> bool:
    if rank is not None:
        return nest.rows == shape[:rank]
    return shape[: len(nest.rows)] == nest.rows and bool(nest.rows)


def _coarse(dag: Dag, store: Store, rank: int) -> Store:
    """``store`` with columns, the axes from ``rank`` on, joined wherever all operands allow it."""
    for axis in reversed(range(rank + 1, len(store.shape))):
        shape, strides = store.shape, store.strides
        if strides[axis - 1] != strides[axis] * shape[axis]:
            continue
        joined = (*shape[: axis - 1], shape[axis - 1] * shape[axis], *shape[axis + 1 :])
        try:
            node = dag.view(store.node, Reshape(joined))
        except Unsupported:
            continue
        if not _find(node, "merge"):
            strides = strides[: axis - 1] + strides[axis:]
            store = replace(store, node=node, shape=joined, strides=strides)
    return store


def plain(dag: Dag, store: Store) -> Iterator[Store]:
    """``store`` without axes of size 1, merged axes and concatenations."""
    for axis in reversed([i for i, n in enumerate(store.node.shape) if n == 1]):
        strides = store.strides[:axis] + store.strides[axis + 1 :]
        node = dag.view(store.node, Select(axis, 0))
        store = replace(store, node=node, shape=node.shape, strides=strides)
    store = replace(store, node=_without_inner_cats(dag, store.node))
    while merged := _find(store.node, "merge"):
        inner = merged.args[0].shape
        finer = reshaped_strides(store.node.shape, store.strides, inner)
        if finer is None:
            raise Unsupported("an output whose strides cannot be split")
        node = dag.view(store.node, Reshape(inner))
        if _find(node, "merge") is merged:
            raise Unsupported("merged axes")
        store = replace(store, node=node, shape=inner, strides=finer)
        if 1 in inner:
            yield from plain(dag, store)
            return
    joined = _find(store.node, "cat")
    if joined is None:
        yield store
        return
    axis = joined.attr
    sizes = [part.shape[axis] for part in joined.args]
    for start, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        node = dag.view(store.node, Slice(axis, start, 1, size))
        offset = store.offset + start * store.strides[axis]
        yield from plain(dag, replace(store, node=node, shape=node.shape, offset=offset))


def _find(node: Node, op: str) -> Node | None:
    """A node of this op that is elementwise part of ``node``."""
    seen: set[Node] = set()
    stack = [node]
    while stack:
        here = stack.pop()
        if here.op == op:
            return here
        if here not in seen and here.op not in REDUCTIONS and here.op != "merge":
            seen.add(here)
            stack += here.args
    return None


def _without_inner_cats(dag: Dag, node: Node) -> Node:
    """``node`` with every reduction of a concatenation taken apart."""
    memo: dict[Node, Node] = {}

    def visit(here: Node) -> Node:
        if here not in memo:
            args = [visit(arg) for arg in here.args]
            memo[here] = _split(dag, here, args) if here.op in REDUCTIONS else (
                dag.make(here.op, args, here.shape, here.dtype, here.attr))  # fmt: skip
        return memo[here]

    return visit(node)


def _split(dag: Dag, node: Node, args: list[Node]) -> Node:
    joined = _find(args[0], "cat")
    if _find(args[0], "merge"):
        raise Unsupported("reduction over merged axes")
    if joined is None or joined.attr < len(node.shape):
        return dag.make(node.op, args, node.shape, node.dtype)
    axis, begin, parts = joined.attr, 0, list[Node]()
    for part in joined.args:
        size = part.shape[axis]
        piece = dag.view(args[0], Slice(axis, begin, 1, size))
        begin += size
        parts.append(_split(dag, node, [piece]))
    done = parts[0]
    for part in parts[1:]:
        done = dag.pointwise(COMBINE[node.op], node.dtype, done, part)
    return done


def depends(node: Node, memo: dict[Node, frozenset[int]]) -> frozenset[int]:
    """Axes of ``node.shape`` along which its value changes."""
    if node not in memo:
        match node.op:
            case "load" | "iota":
                strides = node.attr[-2]
                memo[node] = frozenset(i for i, stride in enumerate(strides) if stride)
            case "const":
                memo[node] = frozenset()
            case _:
                axes = frozenset[int]().union(*(depends(arg, memo) for arg in node.args))
                extra = {node.attr} if node.op == "cat" else set()
                memo[node] = frozenset(a for a in axes | extra if a < len(node.shape))
    return memo[node]


def _row_axes(node: Node) -> frozenset[int] | None:
    """Axes that the reductions in ``node`` change along; None if there are none."""
    memo: dict[Node, frozenset[int]] = {}
    found: frozenset[int] | None = None
    seen: set[Node] = set()
    stack = [node]
    while stack:
        here = stack.pop()
        if here.op in REDUCTIONS:
            found = (found or frozenset()) | depends(here, memo)
        elif here not in seen:
            seen.add(here)
            stack += here.args
    return found


def rows_first(dag: Dag, store: Store) -> Store:
    """``store`` with the axes that its reductions change along in front of the others."""
    axes = _row_axes(store.node)
    order = tuple(sorted(range(len(store.shape)), key=lambda axis: axis not in (axes or ())))
    if axes is None or order == tuple(range(len(order))):
        return store
    view = Permute(order)
    shape, strides = view.shape(store.shape), view.shape(store.strides)
    return replace(store, node=dag.view(store.node, view), shape=shape, strides=strides)


def row_rank(node: Node) -> int | None:
    """How many leading axes the reductions in ``node`` need; None if there are none."""
    axes = _row_axes(node)
    return None if axes is None else 1 + max(axes, default=-1)


class _Local:
    """Rewrites nodes to the row space: what does not depend on a column loses its columns."""

    def __init__(self, dag: Dag, rank: int) -> None:
        self.dag, self.rank = dag, rank
        self.axes: dict[Node, frozenset[int]] = {}
        self.memo: dict[Node, Node] = {}

    def __call__(self, node: Node) -> Node:
        if node not in self.memo:
            self.memo[node] = self._local(node)
        return self.memo[node]

    def _local(self, node: Node) -> Node:
        if len(node.shape) > self.rank and max(depends(node, self.axes), default=-1) < self.rank:
            for axis in reversed(range(self.rank, len(node.shape))):
                node = self.dag.view(node, Select(axis, 0))
            return self(node)
        if node.op in REDUCTIONS and len(node.shape) > self.rank:
            raise Unsupported("a reduction inside the columns of another")
        args = [self(arg) for arg in node.args]
        if node.op in REDUCTIONS and len(args[0].shape) == self.rank:
            return self._of_constant(node, args[0])
        return self.dag.make(node.op, args, node.shape, node.dtype, node.attr)

    def _of_constant(self, node: Node, value: Node) -> Node:
        """A reduction of what is the same in every column."""
        count = prod(node.args[0].shape[self.rank :])
        if node.op == "prod" or not count:
            raise Unsupported("a product of equal values")
        if node.op != "sum":
            return value
        times = self.dag.const(count, value.dtype, value.shape)
        return self.dag.pointwise("mul", value.dtype, value, times)
