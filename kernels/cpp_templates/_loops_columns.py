"""The passes over the columns of a row: simd loops that reduce, keep and store."""

from __future__ import annotations

from math import prod

from kernelite.kernels.cpp_templates._loops_accumulate import Accumulator
from kernelite.kernels.cpp_templates._loops_body import CPP, from_memory, to_memory
from kernelite.kernels.cpp_templates._loops_emit import RowWriter, indented
from kernelite.kernels.loops.axes import Axis, Shape
from kernelite.kernels.loops.body import Body
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.nest import Store
from kernelite.kernels.loops.ops import cost
from kernelite.kernels.loops.passes import Pass, kept_before

CHUNK = 4096
"""Columns summed in float before the sum goes to a double."""
LEAST_LANES = 16
HEAVY = 8.0
"""Cost per element from which arithmetic hides the latency of a short chain of additions."""

Index = list[tuple[str, Axis]]


def write_columns(writer: RowWriter) -> None:
    """Add every pass over the columns to ``writer``'s row."""
    for step in writer.steps:
        writer.row += _PassWriter(writer, step).lines()


class _PassWriter:
    def __init__(self, writer: RowWriter, step: Pass) -> None:
        self.writer, self.step = writer, step
        self.kept = kept_before(writer.steps, step)
        *outer, self.inner = writer.loops.columns[step.context]
        self.outer: Index = [(f"c{i}", axis) for i, axis in enumerate(outer)]
        self.size = writer.block or self.inner.size
        self.counter = "int" if self._fits_int() else "long"
        costs = (cost(node.args[0], dict.fromkeys(self.kept)) for node in step.reduces)
        lanes = writer.options.lanes if sum(costs) < HEAVY else LEAST_LANES
        self.lanes = min(lanes, 1 << (self.size - 1).bit_length())
        columns = prod(axis.size for axis in writer.loops.columns[step.context])
        self.chunked = columns > CHUNK and any(n.op == "sum" for n in step.reduces)
        self.accumulators = [
            Accumulator(node, writer.fresh(node.op), self.lanes, self.chunked)
            for node in step.reduces
        ]

    def lines(self) -> list[str]:
        """Declarations, loops, results."""
        found = [line for a in self.accumulators for line in a.declared()]
        inside = self._chunks()
        for name, axis in reversed(self.outer):
            head = f"for (long {name} = 0; {name} < {axis.size}; ++{name}) {{"
            inside = [head, *indented(inside), "}"]
        found += inside
        for accumulator in self.accumulators:
            found += accumulator.result()
            self.writer.scalars[accumulator.node] = accumulator.name
        return found + self._streams()

    def _chunks(self) -> list[str]:
        """The simd loops, inside a loop over chunks where sums are long."""
        if not self.accumulators:
            return self._simd("j", self._count(), "j")
        if not self.chunked:
            return self._lanes(str(self.size), "")
        inside = [line for a in self.accumulators for line in a.declared_in_chunk()]
        inside += self._lanes("m", "b + ")
        inside += [line for a in self.accumulators for line in a.folded()]
        size = self.size
        return [
            f"for (long b = 0; b < {size}; b += {CHUNK}) {{",
            f"  const long m = {size} - b < {CHUNK} ? {size} - b : {CHUNK};",
            *indented(inside),
            "}",
        ]

    def _count(self) -> str:
        ragged = self.writer.block and self.inner.size % self.writer.block
        return "n" if ragged else str(self.size)

    def _lanes(self, count: str, base: str) -> list[str]:
        """Loops that give each lane every ``lanes``-th column; the last one takes the rest."""
        lanes, known = self.lanes, count.isdigit()
        whole = str(int(count) // lanes * lanes) if known else f"{count} / {lanes} * {lanes}"
        rest = str(int(count) % lanes) if known else f"{count} % {lanes}"
        counter, found = "long" if self.chunked else self.counter, list[str]()
        if whole != "0":
            found += [
                f"for ({counter} j = 0; j < {whole}; j += {lanes}) {{",
                *indented(self._simd("l", str(lanes), f"({base}j + l)")),
                "}",
            ]
        if rest == "0":
            return found
        where = f"({base}{whole} + l)" if base or whole != "0" else "l"
        return found + self._simd("l", rest, where)

    def _simd(self, name: str, count: str, index: str) -> list[str]:
        lines = self._body([*self.outer, (index, self.inner)])
        counter = "int" if name == "l" else self.counter
        return [
            "#pragma omp simd",
            f"for ({counter} {name} = 0; {name} < {count}; ++{name}) {{",
            *indented(lines),
            "}",
        ]

    def _body(self, index: Index) -> list[str]:
        writer = self.writer
        body = Body(
            CPP, writer.levels.in_columns, writer.scalar,
            lambda node: self._leaf(node, index), writer.fresh,
        )  # fmt: skip
        body.expect(self._expected())
        for node in self._buffered():
            buffer = self.writer.buffer(self.step.context, node)
            body.lines.append(f"{buffer}[{self._linear(index)}] = {body.text(node)};")
        for accumulator in self.accumulators:
            node = accumulator.node.args[0]
            text = body.named(node) if accumulator.repeats else body.text(node)
            body.lines += accumulator.updates(text)
        for store in self.step.stores:
            if not self.writer.streams(store):
                text = to_memory(body.text(store.node), store.node.dtype, store.memory)
                body.lines.append(f"{self._target(store, index)} = {text};")
        return body.lines

    def _expected(self) -> list[Node]:
        found = [a.node.args[0] for a in self.accumulators] + self._buffered()
        return found + [s.node for s in self.step.stores if not self.writer.streams(s)]

    def _buffered(self) -> list[Node]:
        """What the loop writes to row buffers: kept values and outputs to be streamed."""
        streamed = [store.node for store in self.step.stores if self.writer.streams(store)]
        return list(dict.fromkeys(n for n in self.step.keeps + streamed if n not in self.kept))

    def _leaf(self, node: Node, index: Index) -> str | None:
        """C++ of what the loop reads: a kept value, a load, a position."""
        if node in self.kept:
            return f"{self.writer.buffer(self.step.context, node)}[{self._linear(index)}]"
        if node.op not in ("load", "iota"):
            return None
        strides, offset = node.attr[-2:]
        at = _at(strides, index)
        where = self.writer.offset(strides, offset)
        if node.op == "iota":
            return f"static_cast<int>({at}{where})"
        name, memory = node.attr[:2]
        return from_memory(f"{self.writer.pointer(name, memory, where, True)}[{at}]", memory)

    def _target(self, store: Store, index: Index) -> str:
        where = self.writer.offset(store.strides, store.offset)
        pointer = self.writer.pointer(store.name, store.memory, where, False)
        return f"{pointer}[{_at(store.strides, index)}]"

    def _linear(self, index: Index) -> str:
        """A column's place in a row buffer."""
        factor, terms = 1, list[str]()
        for name, axis in reversed(index):
            terms.insert(0, name if factor == 1 else f"{name} * {factor}")
            factor *= axis.size
        return " + ".join(terms)

    def _streams(self) -> list[str]:
        """Copies of whole buffered rows past the caches."""
        found = []
        for store in self.step.stores:
            if self.writer.streams(store):
                where = self.writer.offset(store.strides, store.offset)
                pointer = self.writer.pointer(store.name, store.memory, where, False)
                buffer = self.writer.buffer(self.step.context, store.node)
                found.append(f"kl_stream({pointer}, {buffer}, {self._count()});")
        return found

    def _fits_int(self) -> bool:
        """Whether every offset within a row fits a 32-bit integer."""
        loops = self.writer.loops
        walks: list[Shape] = [n.attr[-2] for n in loops.order if n.op in ("load", "iota")]
        walks += [store.strides for store in loops.nest.stores]
        axis = self.inner.axis
        steps = [walk[axis] for walk in walks if axis < len(walk)]
        return not self.outer and self.inner.size * max([1, *steps]) < 2**30


def _at(strides: Shape, index: Index) -> str:
    """Offset of a column from the beginning of its row."""
    terms = [i if strides[axis.axis] == 1 else f"{i} * {strides[axis.axis]}"
             for i, axis in index if strides[axis.axis]]  # fmt: skip
    return " + ".join(terms) or "0"
