"""Sums over rows and what reads the same rows, in one kernel, so that the rows are read once.

The gradients of a norm are a nest over rows, for its input, and sums over all
rows, for its weight.  A program that holds whole rows can sum up those that it
had; a second launch adds what the programs found.  The gradient of a bias is a
sum over rows, too, and what it sums is an output: an elementwise one, which
the kernel of the sum stores on its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from kernelite.kernels.loops.axes import Loops, lane_axis, loops, reachable
from kernelite.kernels.loops.ir import REDUCTIONS, Dag, Node, Unsupported
from kernelite.kernels.loops.nest import Store, nests, row_rank, rows_first
from kernelite.kernels.loops.stages import Stages
from kernelite.kernels.loops.views import Permute, Reshape, Select, reshaped_strides
from kernelite.kernels.triton_templates._loops_shape import MOST_WARPS, fits, sharing
from kernelite.kernels.triton_templates._loops_tile import Partial
from kernelite.problems.tensors import TensorSpec


def with_partial_sums(
    dag: Dag, stores: Sequence[Store], stages: Stages, programs: int
) -> list[Store]:
    """The stores that are left when sums over rows are taken where the rows are held.

    ``programs`` share the rows, or fewer if there are not so many.  What
    holds the rows becomes a stage of its own, with the sums of each program.
    """
    left = list(stores)
    for host in stores:
        rank = row_rank(host.node)
        if not rank or rank == len(host.shape) or rows_first(dag, host) is not host:
            continue
        sums = dict(_sums(dag, [store for store in left if store is not host], host, rank))
        if not sums:
            continue
        count = min(programs, sharing(host.shape[:rank], host.shape[rank:]))
        partials, found, looks = list[Store](), dict[Node, Node](), dict[str, TensorSpec]()
        for number, (node, summed) in enumerate(sums.items()):
            name = f"{host.name}_part{number}"
            partial, look = _partial(name, summed, rank, count)
            found[node] = _total(dag, node, partial, look)
            looks[name] = look
            partials.append(partial)
        if _holds_rows(dag, [host, *partials]):
            left = [replace(store, node=_with(dag, store.node, found)) for store in left
                    if store is not host]  # fmt: skip
            stages.place([host, *partials], looks)
    return left


def with_elements(dag: Dag, stages: Sequence[Sequence[Store]]) -> list[list[Store]]:
    """The stages, elementwise stores beside sums over rows of what they read."""
    found = [list(stage) for stage in stages]
    scratch = {store.name for stage in found[:-1] for store in stage}
    for store in stages[-1]:
        names = {node.attr[0] for node in reachable([store.node]) if node.op == "load"}
        if row_rank(store.node) is not None or names & scratch:
            continue
        for stage in found:
            moved = next(_beside(dag, store, stage), None)
            if moved is not None:
                found[-1].remove(store)
                stage.append(moved)
                break
    return [stage for stage in found if stage]


def _sums(dag: Dag, stores: Sequence[Store], host: Store, rank: int) -> Iterator[tuple[Node, Node]]:
    """Sums over the rows of ``host`` of what it can compute, and what they sum, rows first."""
    held = {node for node in reachable([host.node]) if node.op == "load"}
    for node in reachable(store.node for store in stores):
        if node.op != "sum" or node.dtype != "float":
            continue
        summed = _rows_in_front(dag, node)
        if summed is None or summed.shape != host.shape:
            continue
        depth = row_rank(summed)
        if depth in (None, rank) and held & set(reachable([summed])):
            yield node, summed


def _rows_in_front(dag: Dag, node: Node) -> Node | None:
    """What ``node`` sums, the summed axes in front and none of size 1."""
    (arg,), kept = node.args, len(node.shape)
    order = (*range(kept, len(arg.shape)), *range(kept))
    try:
        arg = dag.view(arg, Permute(order))
        for axis in reversed([i for i, size in enumerate(arg.shape) if size == 1]):
            arg = dag.view(arg, Select(axis, 0))
    except Unsupported:
        return None
    return arg


def _partial(name: str, summed: Node, rank: int, count: int) -> tuple[Store, TensorSpec]:
    columns = TensorSpec(summed.shape[rank:], (), "float32").contiguous_stride
    shape = (count, *summed.shape[rank:])
    look = TensorSpec(shape, TensorSpec(shape, (), "float32").contiguous_stride, "float32")
    strides = (*(0,) * rank, *columns)
    return Partial(name, "float32", summed, summed.shape, strides, programs=count), look


def _total(dag: Dag, node: Node, partial: Store, look: TensorSpec) -> Node:
    """The sum of what all programs found, in the shape of ``node``."""
    part = dag.load(partial.name, "float", "float32", look.shape, look.stride)
    return dag.view(dag.reduce("sum", part, [0]), Reshape(node.shape))


def _with(dag: Dag, root: Node, found: dict[Node, Node]) -> Node:
    """``root`` with other nodes in the place of some."""
    memo = dict(found)
    for node in reachable([root]):
        if node not in memo:
            args = [memo[arg] for arg in node.args]
            memo[node] = dag.make(node.op, args, node.shape, node.dtype, node.attr)
    return memo[root]


def _holds_rows(dag: Dag, stores: Sequence[Store]) -> bool:
    """Whether one kernel computes ``stores``, with whole rows in registers."""
    try:
        made = nests(dag, stores)
    except Unsupported:
        return False
    nest = loops(made[0])
    whole = len(made) == 1 and len(nest.columns) == 1 and lane_axis(nest) is None
    return whole and fits(nest, MOST_WARPS)


def _beside(dag: Dag, store: Store, stage: Sequence[Store]) -> Iterator[Store]:
    """``store`` as the kernels that sum over rows in ``stage`` would walk it."""
    for other in (rows_first(dag, other) for other in stage):
        if row_rank(other.node) is None or lane_axis(_alone(dag, other)) is None:
            continue
        for node in reachable([other.node]):
            if node.op in REDUCTIONS and prod(node.args[0].shape) == prod(store.shape):
                moved = _aligned(dag, store, node.args[0])
                if moved is not None:
                    yield moved


def _alone(dag: Dag, store: Store) -> Loops:
    return loops(nests(dag, [store])[0])


def _aligned(dag: Dag, store: Store, frame: Node) -> Store | None:
    """``store`` with the axes of ``frame``, if both read some tensor as a whole there."""
    for load in reachable([frame]):
        if load.op != "load" or load.shape != frame.shape or 0 in load.attr[2]:
            continue
        order = sorted(range(len(frame.shape)), key=lambda axis: -load.attr[2][axis])
        finer = tuple(frame.shape[axis] for axis in order)
        back = Permute(tuple(order.index(axis) for axis in range(len(order))))
        strides = reshaped_strides(store.shape, store.strides, finer)
        if strides is None:
            continue
        try:
            node = dag.view(dag.view(store.node, Reshape(finer)), back)
        except Unsupported:
            continue
        if load in reachable([node]):
            return replace(store, node=node, shape=node.shape, strides=back.shape(strides))
    return None
