"""A nest whose programs hold row after row and sum up some of what they compute of each."""

from __future__ import annotations

from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.nest import Store, depends
from kernelite.kernels.triton_templates._loops_emit import Index, NestWriter, Scopes, indented
from kernelite.kernels.triton_templates._loops_text import write_at
from kernelite.kernels.triton_templates._loops_tile import Partial


class SummingWriter(NestWriter):
    """Writes a nest with `Partial` stores; whole rows fit its programs."""

    @property
    def partials(self) -> list[Partial]:
        """The sums."""
        return [store for store in self.loops.nest.stores if isinstance(store, Partial)]

    @property
    def programs(self) -> int:
        """See `NestWriter.programs`."""
        return self.partials[0].programs

    def write(self) -> None:
        """See `NestWriter.write`: what it adds there stands in a loop over a program's rows."""
        scopes = self.whole_columns()
        self._read_before(scopes)
        width = self.tile.columns
        shape = f"[{width}]" if self.flat else f"[{self.tile.rows}, {width}]"
        for store in self.partials:
            self.lines.append(f"{store.name}_sum = tl.full({shape}, 0, tl.float32)")
        before, self.lines = self.lines, []
        self.rows_from("first")
        self.passes_over(scopes)
        self.row_stores()
        rows = self.tile.rows
        start = self.program if self.flat else f"{self.program} * {rows}"
        bounds = f"{start}, {self.row_count}, {self.programs * rows}{self.stages}"
        before.append(f"for first in tl.range({bounds}):")
        self.lines = before + indented(self.lines)
        ((_, index),) = scopes.values()
        self.lines += [self._stored_sum(store, index) for store in self.partials]

    def stored(self, store: Store, text: str, columns: Index) -> str:
        """See `NestWriter.stored`; sums grow instead."""
        if not isinstance(store, Partial):
            return super().stored(store, text, columns)
        if mask := self.masks.get("row"):
            text = f"tl.where({mask}, {text}, 0)"
        return f"{store.name}_sum = {store.name}_sum + {text}"

    def _read_before(self, scopes: Scopes) -> None:
        """Read what is the same for every row before the first one."""
        rank = len(self.loops.nest.rows)
        for body, index in scopes.values():
            for node in self.loops.order:
                if node.op == "load" and self._of_columns(node, rank):
                    name = self.fresh("w")
                    self.lines.append(f"{name} = {self.leaf(node, index)}")
                    body.known[node] = name

    def _of_columns(self, node: Node, rank: int) -> bool:
        axes = depends(node, self.levels.axes)
        return bool(axes) and min(axes) >= rank

    def _stored_sum(self, store: Partial, columns: Index) -> str:
        walked = self.walks(store.strides, columns)
        text = f"{store.name}_sum"
        text = text if self.flat else f"tl.sum({text}, axis=0, keep_dims=True)"
        size = 1 + sum((axis.size - 1) * store.strides[axis.axis] for _, axis in walked)
        where = f"({self.program} * {size} + {self.place(store.strides, 0, walked)})"
        return write_at(store.name, where, text, self.mask(walked))
