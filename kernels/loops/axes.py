"""Which loops a nest becomes: neighbouring axes that every operand walks as one are one loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernelite.kernels.loops.ir import REDUCTIONS, Node
from kernelite.kernels.loops.nest import Nest, depends

Shape = tuple[int, ...]
MOST_AXES = 64


@dataclass(frozen=True, slots=True)
class Axis:
    """One loop of ``size`` steps; its stride is the one of the node axis ``axis``."""

    size: int
    axis: int


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops of one nest.

    Attributes:
        nest: What they compute.
        rows: Outer loops, outermost first.
        columns: Inner loops, by the shape that they cover; one entry, (), if nothing is reduced.
        inner: Node axes that only inner loops walk.
        order: Every reachable node, operands first.
    """

    nest: Nest
    rows: tuple[Axis, ...]
    columns: dict[Shape, tuple[Axis, ...]]
    inner: frozenset[int]
    order: tuple[Node, ...]

    @property
    def elementwise(self) -> bool:
        """Whether no loop reduces."""
        return () in self.columns

    def context(self, shape: Shape) -> Shape:
        """Key of the column loops for values of this shape."""
        return () if self.elementwise else shape[len(self.nest.rows) :]


def loops(nest: Nest) -> Loops:
    """The fewest loops that walk every operand and output of ``nest`` at fixed strides."""
    order = tuple(reachable(store.node for store in nest.stores))
    walks = [(node.shape, node.attr[-2]) for node in order if node.op in ("load", "iota")]
    walks += [(store.shape, store.strides) for store in nest.stores]
    rank = len(nest.rows)
    if not any(node.op in REDUCTIONS for node in order):
        strides = nest.stores[0].strides
        axes = sorted(range(rank), key=lambda axis: -strides[axis])
        merged = merge(axes, nest.rows, [walk for _, walk in walks])
        inner = frozenset(axis.axis for axis in merged[-1:])
        return Loops(nest, merged[:-1], {(): merged[-1:]}, inner, order)
    rows = merge(range(rank), nest.rows, [walk for _, walk in walks])
    shapes = {node.args[0].shape for node in order if node.op in REDUCTIONS}
    shapes |= {store.shape for store in nest.stores if len(store.shape) > rank}
    columns: dict[Shape, tuple[Axis, ...]] = {}
    for shape in sorted(shapes):
        inside = [walk for walked, walk in walks if walked == shape]
        columns[shape[rank:]] = merge(range(rank, len(shape)), shape, inside)
    return Loops(nest, rows, columns, frozenset(range(rank, MOST_AXES)), order)


def merge(axes: Iterable[int], shape: Shape, walks: Sequence[Shape]) -> tuple[Axis, ...]:
    """``axes`` of ``shape`` as loops, neighbours joined where all of ``walks`` allow it."""
    found: list[Axis] = []
    for axis in axes:
        size = shape[axis]
        outer = found[-1] if found else None
        if outer and all(walk[outer.axis] == walk[axis] * size for walk in walks):
            found[-1] = Axis(outer.size * size, axis)
        else:
            found.append(Axis(size, axis))
    return tuple(found)


def reachable(nodes: Iterable[Node]) -> list[Node]:
    """``nodes`` and all they are computed from, operands first."""
    seen: set[Node] = set()
    stack = list(nodes)
    while stack:
        here = stack.pop()
        if here not in seen:
            seen.add(here)
            stack += here.args
    return sorted(seen, key=lambda node: node.key)


class Levels:
    """When each node of a nest can be computed, and where.

    A value of level n needs the reductions of n passes over the columns.
    """

    def __init__(self, shape: Loops) -> None:
        self.inner = shape.inner
        self.axes: dict[Node, frozenset[int]] = {}
        self.level: dict[Node, int] = {}
        self.outer: dict[Node, bool] = {}
        for node in shape.order:
            above = max((self.level[arg] for arg in node.args), default=0)
            self.level[node] = above + (node.op in REDUCTIONS)

    def in_columns(self, node: Node) -> bool:
        """Whether ``node`` changes from column to column."""
        return node.op not in REDUCTIONS and bool(depends(node, self.axes) & self.inner)

    def in_rows(self, node: Node) -> bool:
        """Whether ``node`` changes from row to row only."""
        if node not in self.outer:
            own = node.op in REDUCTIONS or bool(depends(node, self.axes))
            changes = own or any([self.in_rows(arg) for arg in node.args])
            self.outer[node] = changes and not self.in_columns(node)
        return self.outer[node]


def lane_axis(loops: Loops) -> Axis | None:
    """The row loop along which memory runs; None where columns or nothing does."""
    levels = Levels(loops)
    loads = [n for n in loops.order if n.op == "load" and levels.in_columns(n)]
    inner = {axes[-1].axis for axes in loops.columns.values() if axes}
    along = sum(any(n.attr[2][a] == 1 for a in inner if a < len(n.shape)) for n in loads)
    counted = [(sum(n.attr[2][axis.axis] == 1 for n in loads), axis) for axis in loops.rows]
    best, axis = max(counted, key=lambda pair: pair[0], default=(0, None))
    return axis if not loops.elementwise and best > along else None
