"""One loop nest as C++."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from kernelite.kernels.cpp_templates._loops_body import CXX, from_memory, literal, to_memory
from kernelite.kernels.loops.axes import Axis, Levels, Loops, Shape
from kernelite.kernels.loops.ir import Node, Unsupported
from kernelite.kernels.loops.nest import Store
from kernelite.kernels.loops.ops import MEMORY
from kernelite.kernels.loops.passes import in_columns, passes

STACK_ELEMENTS = 2**16


@dataclass(frozen=True, slots=True)
class Options:
    """The open parameters of a source.

    Attributes:
        vector: Preferred width of a vector, in bits; 0 leaves it to the compiler.
        stream: Whether outputs go past the caches.
        keep: Whether dear values that a later pass needs are kept rather than recomputed.
        lanes: Independent partial results of each reduction.
        block: Columns of a loop without reductions that are one unit of work.
        schedule: OpenMP's schedule of the rows.
        parallel: Whether to use threads.
    """

    vector: int
    stream: bool
    keep: bool
    lanes: int
    block: int
    schedule: str
    parallel: bool


class RowWriter:
    """Writes the outer loop of one nest and what stands outside its columns.

    `kernels.cpp_templates._loops_columns` adds the passes over the columns to `row`.
    """

    def __init__(self, loops: Loops, options: Options, number: int) -> None:
        self.loops, self.options, self.number = loops, options, number
        self.levels = Levels(loops)
        self.steps = passes(loops, self.levels, options.keep)
        self.names: dict[str, int] = {}
        self.buffers: dict[tuple[Shape, Node], str] = {}
        self.pointers: dict[tuple[str, str], str] = {}
        self.scalars: dict[Node, str] = {}
        self.before: list[str] = []
        self.row: list[str] = []
        self.rows = list(loops.rows)
        self.block, self.split = self._block()
        self.row_index = self._row_index()

    def lines(self) -> list[str]:
        """The nest's statements, once its passes are written."""
        self.row_stores()
        sizes = [axis.size for axis in self.rows]
        if self.split:
            sizes.append(-(-self.split.size // self.block))
        rows = prod(sizes)
        loop = [f"for (long r = 0; r < {rows}; ++r) {{", *indented(self.row), "}"]
        if self.options.parallel:
            loop.insert(0, f"#pragma omp for schedule({self.options.schedule}) nowait")
        after = ["kl_fence();"] if any("kl_stream(" in line for line in self.row) else []
        return ["{", *indented([*self.buffers_declared(), *self.before, *loop, *after]), "}"]

    def fresh(self, stem: str) -> str:
        """A name that this nest has not used."""
        self.names[stem] = self.names.get(stem, -1) + 1
        return f"{stem}{self.names[stem]}"

    def _block(self) -> tuple[int, Axis | None]:
        """Steps per unit of work of a loop that is cut into blocks, and that loop; or 0, None."""
        if not self.loops.elementwise or len(self.loops.columns[()]) != 1:
            return 0, None
        (axis,) = self.loops.columns[()]
        return (self.options.block, axis) if axis.size > 2 * self.options.block else (0, None)

    def _row_index(self) -> list[tuple[str, Axis]]:
        """A C++ index for each outer loop; the statements that compute them go first."""
        axes, divisor, found = self.rows, 1, list[tuple[str, Axis]]()
        left = "r"
        if self.split:
            size, block = self.split.size, self.block
            divisor = -(-size // block)
            self.row.append(f"const long begin = r % {divisor} * {block};")
            if size % block:
                rest = f"{size} - begin"
                self.row.append(f"const long n = {rest} < {block} ? {rest} : {block};")
            found.append(("begin", self.split))
        for position, axis in reversed(list(enumerate(axes))):
            text = left if divisor == 1 else f"({left} / {divisor})"
            text = text if position == 0 else f"{text} % {axis.size}"
            if len(axes) == 1 and divisor == 1:
                found.append(("r", axis))
                continue
            name = f"i{position}"
            self.row.append(f"const long {name} = {text};")
            found.append((name, axis))
            divisor *= axis.size
        return found

    def buffers_declared(self) -> list[str]:
        """Declarations of the row buffers; on the thread's stack unless they are huge."""
        found = []
        for (context, node), name in self.buffers.items():
            size = self.buffer_size(context)
            kind = "alignas(64)" if size <= STACK_ELEMENTS else "alignas(64) static thread_local"
            found.append(f"{kind} {node.dtype} {name}[{size}];")
        return found

    def buffer_size(self, context: Shape) -> int:
        """Elements of a buffer for what these column loops compute."""
        return self.block or prod(axis.size for axis in self.loops.columns[context])

    def offset(self, strides: Shape, offset: int) -> str:
        """The element of a tensor where the present row begins, as ``+ ..`` terms."""
        terms = [f" + {i} * {strides[axis.axis]}" if strides[axis.axis] != 1 else f" + {i}"
                 for i, axis in self.row_index if strides[axis.axis]]  # fmt: skip
        return "".join(terms) + (f" + {offset}" if offset else "")

    def scalar(self, node: Node) -> str:
        """C++ of a node that does not change along the columns."""
        if node not in self.scalars:
            self.scalars[node] = self.compute(node)
        return self.scalars[node]

    def compute(self, node: Node) -> str:
        """C++ of a row-level node; the statement that computes it is added."""
        if node.op == "const":
            return literal(node.attr, node.dtype)
        if node.op in ("load", "iota"):
            text = self._row_leaf(node)
        elif node.op in CXX:
            text = CXX[node.op].format(*(self.scalar(arg) for arg in node.args))
        else:
            raise Unsupported(f"node {node.op}")
        name = self.fresh("v")
        lines = self.row if self.levels.in_rows(node) else self.before
        lines.append(f"const {node.dtype} {name} = {text};")
        return name

    def _row_leaf(self, node: Node) -> str:
        if node.op == "iota":
            strides, offset = node.attr
            return f"static_cast<int>(0{self.offset(strides, offset)})"
        name, memory, strides, offset = node.attr
        where = self.offset(strides, offset).removeprefix(" + ") or "0"
        return from_memory(f"{name}[{where}]", memory)

    def pointer(self, name: str, memory: str, where: str, const: bool) -> str:
        """A pointer to where the present row begins in argument ``name``."""
        if not where:
            return name
        key = name, where
        if key not in self.pointers:
            self.pointers[key] = self.fresh(f"{name}_row")
            kind = f"{'const ' if const else ''}{MEMORY[memory][0]}* __restrict"
            self.row.append(f"{kind} {self.pointers[key]} = {name}{where};")
        return self.pointers[key]

    def buffer(self, context: Shape, node: Node) -> str:
        """The row buffer of ``node``."""
        key = context, node
        if key not in self.buffers:
            self.buffers[key] = f"nest{self.number}_row{len(self.buffers)}"
        return self.buffers[key]

    def streams(self, store: Store) -> bool:
        """Whether ``store`` goes past the caches."""
        axes = self.loops.columns[self.loops.context(store.shape)]
        unit = len(axes) == 1 and store.strides[axes[0].axis] == 1
        return (
            self.options.stream
            and unit
            and store.memory == "float32"
            and (self.levels.in_columns(store.node) and store.node.dtype == "float")
        )

    def row_stores(self) -> None:
        """Add the stores of what does not change along the columns."""
        for store in self.loops.nest.stores:
            if not in_columns(self.loops, store):
                text = to_memory(str(self.scalar(store.node)), store.node.dtype, store.memory)
                where = self.offset(store.strides, store.offset).removeprefix(" + ") or "0"
                self.row.append(f"{store.name}[{where}] = {text};")


def indented(lines: list[str]) -> list[str]:
    return [line if line.startswith("#") else f"  {line}" for line in lines]
