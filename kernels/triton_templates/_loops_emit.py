"""One loop nest as one Triton kernel.

A program holds a tile of whole rows, so that what several passes need is read
once; where rows are too long it is `_loops_walk` that writes the kernel.  A
tile of one row has one axis.  Without reductions all loops are columns of a
single row, which programs share out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from kernelite.kernels.loops.axes import MOST_AXES, Axis, Levels, Loops, Shape, lane_axis
from kernelite.kernels.loops.body import Body, bare
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.nest import Store
from kernelite.kernels.loops.passes import in_columns, passes
from kernelite.kernels.triton_templates._loops_reduce import Reduction
from kernelite.kernels.triton_templates._loops_text import (
    TRITON_LANGUAGE,
    from_memory,
    literal,
    operation,
    read_at,
    supported,
    write_at,
)
from kernelite.kernels.triton_templates._loops_tile import Tile, power_of_two

Index = list[tuple[str, Axis]]
Scopes = dict[Shape, tuple[Body, Index]]


class NestWriter:
    """Writes the kernel of one nest.

    Args:
        loops: The nest.
        tile: Its shape.
        name: The kernel's.

    Raises:
        Unsupported: something in it cannot be written.
    """

    def __init__(self, loops: Loops, tile: Tile, name: str) -> None:
        supported(loops.order)
        self.spread = loops.elementwise
        self.loops, self.tile, self.name = _arranged(loops), tile, name
        self.levels = Levels(self.loops)
        self.steps = passes(self.loops, self.levels, keep=False)
        self.row_count = prod(axis.size for axis in self.loops.rows)
        self.flat, self.wide = tile.rows == 1, _wide(self.loops)
        self.program = f"tl.program_id(0){'.to(tl.int64)' if self.wide else ''}"
        self.stages = f", num_stages={tile.stages}" if tile.stages > 1 else ""
        self.scalars: dict[Node, str] = {}
        self.names: dict[str, int] = {}
        self.masks: dict[str, str] = {}
        self.lines: list[str] = []
        self.row_index: Index = []

    @property
    def programs(self) -> int:
        """How many there are."""
        if self.spread:
            (axes,) = self.loops.columns.values()
            return -(-prod(axis.size for axis in axes) // self.tile.columns)
        return -(-self.row_count // self.tile.rows)

    @property
    def arguments(self) -> list[str]:
        """The tensors that it reads and writes."""
        read = [node.attr[0] for node in self.loops.order if node.op == "load"]
        return list(dict.fromkeys(read + [store.name for store in self.loops.nest.stores]))

    def text(self) -> str:
        """The kernel."""
        self.write()
        head = f"@triton.jit\ndef {self.name}({', '.join(self.arguments)}):\n"
        return head + "\n".join(indented(self.lines)) + "\n"

    def write(self) -> None:
        """Add the statements of the kernel to its lines."""
        self.own_rows()
        self.passes_over(self.whole_columns())
        self.row_stores()

    def own_rows(self) -> None:
        """The rows that are this program's, if there are several."""
        if self.loops.rows:
            rows = self.tile.rows
            self.rows_from(self.program if self.flat else f"{self.program} * {rows}")

    def fresh(self, stem: str) -> str:
        """A name that this kernel has not used."""
        self.names[stem] = self.names.get(stem, -1) + 1
        return f"{stem}{self.names[stem]}"

    def scalar(self, node: Node) -> str:
        """What does not change along the columns; the statements that compute it are added."""
        if node not in self.scalars:
            self.scalars[node] = self._scalar(node)
        return self.scalars[node]

    def _scalar(self, node: Node) -> str:
        if node.op == "const":
            return literal(node.attr, node.dtype)
        text = self.leaf(node, []) or operation(node, [self.scalar(arg) for arg in node.args])
        name = self.fresh("v")
        self.lines.append(f"{name} = {bare(text)}")
        return name

    def rows_from(self, start: str) -> None:
        """The rows from ``start`` on and which of them there are."""
        rows = self.tile.rows
        text = start if self.flat else f"{start} + tl.arange(0, {rows})[:, None]"
        self.row_index = self._index("row", text, self.loops.rows, self.lines)
        if self.row_count % rows:
            self._masked("row", self.row_count, self.lines)

    def columns_from(self, start: str, axes: Sequence[Axis], width: int, lines: list[str]) -> Index:
        """Columns from ``start`` on, and which of them there are."""
        arange = f"tl.arange(0, {width})" + ("" if self.flat else "[None, :]")
        arange += ".to(tl.int64)" if self.wide else ""
        name, size = self.fresh("column"), prod(axis.size for axis in axes)
        index = self._index(name, start + arange, axes, lines)
        if size % width:
            self._masked(name, size, lines)
        return index

    def _index(self, name: str, text: str, axes: Sequence[Axis], lines: list[str]) -> Index:
        lines.append(f"{name} = {text}")
        return self.index_from(name, axes, lines)

    def index_from(self, name: str, axes: Sequence[Axis], lines: list[str]) -> Index:
        """An index for each of ``axes``, all of which ``name`` counts, the last one fastest."""
        if len(axes) == 1:
            return [(name, axes[0])]
        divisor, found = 1, list[tuple[str, Axis]]()
        for position, axis in reversed(list(enumerate(axes))):
            text = name if divisor == 1 else f"{name} // {divisor}"
            text = text if position == 0 else f"{text} % {axis.size}"
            lines.append(f"{name}_{position} = {text}")
            found.insert(0, (f"{name}_{position}", axis))
            divisor *= axis.size
        return found

    def _masked(self, name: str, size: int, lines: list[str]) -> None:
        self.masks[name] = f"{name}_inside"
        lines.append(f"{name}_inside = {name} < {size}")

    def whole_columns(self) -> Scopes:
        """Where the passes over each kind of columns are computed, for whole rows."""
        scopes: Scopes = {}
        for context in dict.fromkeys(step.context for step in self.steps):
            axes = self.loops.columns[context]
            width, start = power_of_two(prod(axis.size for axis in axes)), ""
            if self.spread:
                width = self.tile.columns
                start = f"{self.program} * {width} + "
            index = self.columns_from(start, axes, width, self.lines)
            scopes[context] = self.body(index), index
        return scopes

    def passes_over(self, scopes: Scopes) -> None:
        """Every pass over whole rows, which stay in registers."""
        for context, (body, _) in scopes.items():
            body.lines = self.lines
            body.expect(root for step in self.steps if step.context == context
                        for root in step.roots())  # fmt: skip
        for step in self.steps:
            body, index = scopes[step.context]
            for node in step.reduces:
                reduction = self.reduction(node)
                tile = reduction.operand(body.text(node.args[0]), self.mask(index))
                if not tile.isidentifier():
                    self.lines.append(f"{reduction.name}_parts = {bare(tile)}")
                    tile = f"{reduction.name}_parts"
                self.lines.append(reduction.result(tile))
            for store in step.stores:
                self.lines.append(self.stored(store, body.text(store.node), index))

    def row_stores(self) -> None:
        """Add the stores of what does not change along the columns."""
        for store in self.loops.nest.stores:
            if not in_columns(self.loops, store):
                self.lines.append(self.stored(store, self.scalar(store.node), []))

    def body(self, index: Index) -> Body:
        """Where a pass over these columns is computed."""
        leaf = lambda node: self.leaf(node, index)  # noqa: E731
        return Body(TRITON_LANGUAGE, self.levels.in_columns, self.scalar, leaf, self.fresh)

    def reduction(self, node: Node) -> Reduction:
        """The texts of ``node``; its result is known by a name from now on."""
        self.scalars[node] = self.fresh(node.op)
        return Reduction(node, self.scalars[node], self.flat)

    def leaf(self, node: Node, columns: Index) -> str | None:
        """What is read from memory, or a position; None for what is computed."""
        if node.op not in ("load", "iota"):
            return None
        *name, strides, offset = node.attr
        walked = self.walks(strides, columns)
        where = self.place(strides, offset, walked)
        if node.op == "iota":
            return f"({where}).to(tl.int32)" if walked else f"tl.full((), {where}, tl.int32)"
        text = read_at(name[0], where, self.mask(walked))
        return from_memory(text, name[1], node.dtype)

    def stored(self, store: Store, text: str, columns: Index) -> str:
        """The statement that stores ``text``."""
        walked = self.walks(store.strides, columns)
        where = self.place(store.strides, store.offset, walked)
        return write_at(store.name, where, text, self.mask(walked))

    def walks(self, strides: Shape, columns: Index) -> Index:
        """The loops along which something of these strides moves."""
        return [(name, axis) for name, axis in (*self.row_index, *columns)
                if axis.axis < len(strides) and strides[axis.axis]]  # fmt: skip

    def place(self, strides: Shape, offset: int, walked: Index) -> str:
        """The element where these loops are, as a term."""
        terms = [name if strides[axis.axis] == 1 else f"{name} * {strides[axis.axis]}"
                 for name, axis in walked]  # fmt: skip
        terms += [str(offset)] if offset or not terms else []
        return terms[0] if len(terms) == 1 and " " not in terms[0] else f"({' + '.join(terms)})"

    def mask(self, walked: Index) -> str:
        """Which elements there are where these loops go; empty for all."""
        names = dict.fromkeys(name.partition("_")[0] for name, _ in walked)
        return " & ".join(self.masks[name] for name in names if name in self.masks)


def indented(lines: Iterable[str]) -> list[str]:
    """``lines`` one level deeper."""
    return [f"    {line}" for line in lines]


def _arranged(loops: Loops) -> Loops:
    """Loops without reductions as columns of one row; the rows that memory runs along last."""
    if loops.elementwise:
        axes = (*loops.rows, *loops.columns[()])
        return replace(loops, rows=(), columns={(): axes}, inner=frozenset(range(MOST_AXES)))
    lane = lane_axis(loops)
    if lane is None:
        return loops
    return replace(loops, rows=(*(axis for axis in loops.rows if axis is not lane), lane))


def _wide(loops: Loops) -> bool:
    """Whether some offset or some count does not fit 32 bits."""
    walks = [(node.shape, node.attr[-2], node.attr[-1]) for node in loops.order
             if node.op in ("load", "iota")]  # fmt: skip
    walks += [(store.shape, store.strides, store.offset) for store in loops.nest.stores]
    furthest = (sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True)) + offset
                for shape, strides, offset in walks)  # fmt: skip
    return max((*furthest, *(prod(shape) for shape, _, _ in walks)), default=0) >= 2**31 - 2**16
