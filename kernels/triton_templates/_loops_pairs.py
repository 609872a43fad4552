"""Elements whose neighbours in memory are other elements' operands, as in interleaved rotary.

Two loads, or two stores, that walk memory in steps of two, one place apart,
each touch every second element.  Together they are one run of memory: it is
read as such and taken apart in registers, or put together there and stored.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from kernelite.kernels.loops.axes import Axis, Levels, Loops, Shape
from kernelite.kernels.loops.body import bare
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.nest import Store
from kernelite.kernels.triton_templates._loops_emit import Index, NestWriter, Scopes
from kernelite.kernels.triton_templates._loops_text import from_memory, read_at, write_at
from kernelite.kernels.triton_templates._loops_tile import Tile

Half = TypeVar("Half", Node, Store)


class PairWriter(NestWriter):
    """Writes a nest without reductions that has pairs."""

    def __init__(self, loops: Loops, tile: Tile, name: str) -> None:
        super().__init__(loops, tile, name)
        (axes,) = self.loops.columns.values()
        self.last = axes[-1]
        self.loads, self.stores = _loads(self.loops), _stores(self.loops)
        self.halves: dict[Node, str] = {}
        self.waiting: dict[Store, str] = {}
        self.doubled: Index = []

    def whole_columns(self) -> Scopes:
        """See `NestWriter.whole_columns`; what lies in pairs has twice as many."""
        scopes = super().whole_columns()
        (axes,) = self.loops.columns.values()
        twice, width = replace(self.last, size=2 * self.last.size), 2 * self.tile.columns
        start = f"{self.program} * {width} + "
        self.doubled = self.columns_from(start, (*axes[:-1], twice), width, self.lines)
        return scopes

    def leaf(self, node: Node, columns: Index) -> str | None:
        """See `NestWriter.leaf`; both loads of a pair are one."""
        if node not in self.loads:
            return super().leaf(node, columns)
        if node not in self.halves:
            low, high = self.loads[node]
            name, _, strides, offset = low.attr
            parts = self.halves[low], self.halves[high] = self.fresh("even"), self.fresh("odd")
            whole = read_at(name, *self._run(strides, offset))
            run = f"tl.reshape({whole}, ({self.tile.columns}, 2))"
            self.lines.append(f"{', '.join(parts)} = tl.split({run})")
        return from_memory(self.halves[node], node.attr[1], node.dtype)

    def stored(self, store: Store, text: str, columns: Index) -> str:
        """See `NestWriter.stored`; the first store of a pair waits for the second."""
        if store not in self.stores:
            return super().stored(store, text, columns)
        low, high = self.stores[store]
        other = high if store is low else low
        if other not in self.waiting:
            self.waiting[store] = name = self.fresh("half")
            return f"{name} = {bare(text)}"
        name = self.waiting.pop(other)
        text = bare(text)
        parts = f"{text}, {name}" if store is low else f"{name}, {text}"
        where, mask = self._run(low.strides, low.offset)
        return write_at(low.name, where, f"tl.interleave({parts})", mask)

    def _run(self, strides: Shape, offset: int) -> tuple[str, str]:
        """Where both halves of a pair lie, and which of them there are."""
        axis = self.last.axis
        single = (*strides[:axis], 1, *strides[axis + 1 :])
        walked = self.walks(single, self.doubled)
        return self.place(single, offset, walked), self.mask(walked)


def has_pairs(loops: Loops) -> bool:
    """Whether a nest without reductions has pairs of loads or of stores."""
    return loops.elementwise and bool(_loads(loops) or _stores(loops))


def _loads(loops: Loops) -> Mapping[Node, tuple[Node, Node]]:
    """The pair that each load is half of, the lower half first."""
    last = _last(loops)
    found = ((n, n.attr[:3], n.attr[2], n.attr[3]) for n in loops.order if n.op == "load")
    return _paired(found, last)


def _stores(loops: Loops) -> Mapping[Store, tuple[Store, Store]]:
    """The pair that each store is half of, the lower half first."""
    last, levels = _last(loops), Levels(loops)
    found = ((s, (s.name, s.strides), s.strides, s.offset)
             for s in loops.nest.stores if levels.in_columns(s.node))  # fmt: skip
    return _paired(found, last)


def _last(loops: Loops) -> Axis | None:
    axes = loops.columns[()]
    return axes[-1] if axes else None


def _paired(
    halves: Iterable[tuple[Half, Hashable, Shape, int]], last: Axis | None
) -> dict[Half, tuple[Half, Half]]:
    """Those of equal key that are one place apart and walk in steps of two."""
    found: dict[Half, tuple[Half, Half]] = {}
    at: dict[tuple[Hashable, int], Half] = {}
    for half, key, strides, offset in sorted(halves, key=lambda one: one[3]):
        if last is None or strides[last.axis] != 2:
            continue
        below = at.get((key, offset - 1))
        if below is not None and below not in found:
            found[below] = found[half] = (below, half)
        at[key, offset] = half
    return found
