"""Nests whose memory runs along a row axis: neighbouring rows share vectors.

Reducing over an axis that is not the last one, a loop over the columns of one
row would jump through memory.  Here a block of neighbouring rows walks the
columns together; every row is one lane, and what a row knows is an array.
"""

from __future__ import annotations

from math import prod

from kernelite.kernels.cpp_templates._loops_accumulate import Accumulator
from kernelite.kernels.cpp_templates._loops_body import CPP, CXX, from_memory, to_memory
from kernelite.kernels.cpp_templates._loops_emit import Options, RowWriter, indented
from kernelite.kernels.loops.axes import Axis, Loops, Shape
from kernelite.kernels.loops.body import Body
from kernelite.kernels.loops.ir import REDUCTIONS, Node
from kernelite.kernels.loops.nest import Store, depends
from kernelite.kernels.loops.passes import Pass, in_columns, kept_before

Index = list[tuple[str, Axis]]
RUN = 512
"""Columns that one float sums up before the sum joins the total."""


class LaneWriter(RowWriter):
    """Writes one nest with a block of rows in lanes."""

    def __init__(self, loops: Loops, options: Options, number: int, lane: Axis) -> None:
        self.lane, self.width = lane, min(options.lanes, 1 << (lane.size - 1).bit_length())
        self.laned: dict[Node, bool] = {}
        super().__init__(loops, options, number)
        self.count = "n" if lane.size % self.width else str(self.width)

    def _block(self) -> tuple[int, Axis | None]:
        self.rows = [axis for axis in self.loops.rows if axis is not self.lane]
        return self.width, self.lane

    def in_lanes(self, node: Node) -> bool:
        """Whether ``node`` changes from row to row of a block."""
        if node not in self.laned:
            along = self.lane.axis in depends(node, self.levels.axes)
            below = along or node.op in REDUCTIONS or any([self.in_lanes(a) for a in node.args])
            self.laned[node] = below
        return self.laned[node]

    def compute(self, node: Node) -> str:
        """See `RowWriter.compute`; what differs between lanes becomes an array."""
        if node.op == "const" or not self.in_lanes(node):
            return super().compute(node)
        text = self.leaf(node, [("l", self.lane)], frozenset(), ())
        text = text or CXX[node.op].format(*(self.scalar(arg) for arg in node.args))
        name = self.fresh("v")
        self.row.append(f"alignas(64) {node.dtype} {name}[{self.width}];")
        self.row += self.simd([f"{name}[l] = {text};"])
        return f"{name}[l]"

    def simd(self, lines: list[str]) -> list[str]:
        """A loop over the lanes."""
        head = f"for (int l = 0; l < {self.count}; ++l) {{"
        return ["#pragma omp simd", head, *indented(lines), "}"]

    def leaf(self, node: Node, index: Index, kept: frozenset[Node], context: Shape) -> str | None:
        """C++ of what is read from memory in a lane; None for what is computed."""
        if node in kept:
            return f"{self.buffer(context, node)}[{self.place(index)}]"
        if node.op not in ("load", "iota"):
            return None
        strides, offset = node.attr[-2:]
        where = self.offset(strides, offset)
        if node.op == "iota":
            return f"static_cast<int>({at(strides, index)}{where})"
        name, memory = node.attr[:2]
        pointer = self.pointer(name, memory, where, True)
        return from_memory(f"{pointer}[{at(strides, index)}]", memory)

    def place(self, index: Index) -> str:
        """Where a buffer holds the value of a column and a lane."""
        text, factor = "l", self.width
        for name, axis in reversed(index[:-1]):
            text, factor = f"{name} * {factor} + {text}", factor * axis.size
        return text

    def target(self, store: Store, index: Index, text: str) -> str:
        """A store of one lane."""
        pointer = self.pointer(
            store.name, store.memory, self.offset(store.strides, store.offset), False
        )
        value = to_memory(text, store.node.dtype, store.memory)
        return f"{pointer}[{at(store.strides, index)}] = {value};"

    def row_stores(self) -> None:
        """See `RowWriter.row_stores`."""
        for store in self.loops.nest.stores:
            if not in_columns(self.loops, store):
                text = str(self.scalar(store.node))
                self.row += self.simd([self.target(store, [("l", self.lane)], text)])

    def buffer_size(self, context: Shape) -> int:
        """See `RowWriter.buffer_size`: a value per column and lane."""
        return self.width * prod(axis.size for axis in self.loops.columns[context])

    def streams(self, store: Store) -> bool:
        """Never: a block of rows is written in short pieces."""
        return False


def write_lanes(writer: LaneWriter) -> None:
    """Add every pass over the columns to ``writer``'s row."""
    for step in writer.steps:
        writer.row += _pass(writer, step)


def _pass(writer: LaneWriter, step: Pass) -> list[str]:
    axes = writer.loops.columns[step.context]
    index: Index = [(f"c{i}", axis) for i, axis in enumerate(axes)]
    runs = axes[-1].size > RUN and any(node.op == "sum" for node in step.reduces)
    accumulators = [
        Accumulator(node, writer.fresh(node.op), writer.width, False) for node in step.reduces
    ]
    inside = writer.simd(_body(writer, step, accumulators, [*index, ("l", writer.lane)]))
    found = [line for a in accumulators for line in a.declared()]
    sums = [a for a in accumulators if a.op == "sum"] if runs else []
    for position, (name, axis) in enumerate(reversed(index)):
        if position or not sums:
            head = f"for (long {name} = 0; {name} < {axis.size}; ++{name}) {{"
            inside = [head, *indented(inside), "}"]
        else:
            inside = _in_runs(writer, sums, inside, name, axis.size)
    for accumulator in accumulators:
        text = f"{accumulator.name}_lanes[l]"
        if accumulator.finds_nan:
            text = f"({accumulator.name}_nan[l] ? kl_nan : {text})"
        writer.scalars[accumulator.node] = text
    return found + inside


def _in_runs(
    writer: LaneWriter, sums: list[Accumulator], inside: list[str], name: str, size: int
) -> list[str]:
    """The loop over the columns, in runs that sum up on their own."""
    before = [line.replace("_lanes[", "_run[") for a in sums for line in a.declared()]
    inside = list(inside)
    for a in sums:
        inside = [line.replace(f"{a.name}_lanes[", f"{a.name}_run[") for line in inside]
    joins = [f"{a.name}_lanes[l] += {a.name}_run[l];" for a in sums]
    return [
        f"for (long b = 0; b < {size}; b += {RUN}) {{",
        f"  const long m = {size} - b < {RUN} ? {size} : b + {RUN};",
        *indented(before),
        f"  for (long {name} = b; {name} < m; ++{name}) {{",
        *indented(indented(inside)),
        "  }",
        *indented(writer.simd(joins)),
        "}",
    ]


def _body(
    writer: LaneWriter, step: Pass, accumulators: list[Accumulator], index: Index
) -> list[str]:
    kept = frozenset(kept_before(writer.steps, step))
    body = Body(
        CPP, writer.levels.in_columns, writer.scalar,
        lambda node: writer.leaf(node, index, kept, step.context), writer.fresh,
    )  # fmt: skip
    keeps = [node for node in step.keeps if node not in kept]
    stored = [store.node for store in step.stores]
    body.expect([*keeps, *(a.node.args[0] for a in accumulators), *stored])
    for node in keeps:
        buffer = writer.buffer(step.context, node)
        body.lines.append(f"{buffer}[{writer.place(index)}] = {body.text(node)};")
    for accumulator in accumulators:
        node = accumulator.node.args[0]
        text = body.named(node) if accumulator.repeats else body.text(node)
        body.lines += accumulator.updates(text)
    for store in step.stores:
        body.lines.append(writer.target(store, index, body.text(store.node)))
    return body.lines


def at(strides: Shape, index: Index) -> str:
    """Offset of a column and lane from where the block begins."""
    terms = [i if strides[axis.axis] == 1 else f"{i} * {strides[axis.axis]}"
             for i, axis in index if axis.axis < len(strides) and strides[axis.axis]]  # fmt: skip
    return " + ".join(terms) or "0"
