"""Values that must be finished before a nest begins, and go through memory.

Three kinds: a reduction inside the columns of another one; a reduction with so
few results that computing each in one thread would leave the others idle,
which is split in two, many partial results and their reduction; and what is
dear and the same in every row, which becomes a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from kernelite.kernels.loops.axes import reachable
from kernelite.kernels.loops.ir import REDUCTIONS, Dag, Node, Unsupported
from kernelite.kernels.loops.nest import Store, depends
from kernelite.kernels.loops.ops import cost
from kernelite.kernels.loops.views import Permute, Reshape, Select
from kernelite.problems.tensors import TensorSpec

MEMORY = {"float": "float32", "double": "float64", "int64_t": "int64", "int": "int32",
          "bool": "bool"}  # fmt: skip
ROWS_PER_TABLE = 16
DEAR = 8.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a value is worth a stage; a language and its machine decide.

    Attributes:
        parts: Into how many parts a reduction, of so many results, may be split, best first.
        most_elements: Of one intermediate result.
        tables: Whether what is dear and the same in every row becomes one.
    """

    parts: Callable[[Node, int], Iterable[int]]
    most_elements: int
    tables: bool


class Stages:
    """Takes such values out of stores.

    Attributes:
        scratch: Look of each intermediate result, by name.
        found: Stores that compute them, stage by stage.
    """

    def __init__(self, dag: Dag, limits: Limits) -> None:
        self.dag, self.limits = dag, limits
        self.results = 0
        self.scratch: dict[str, TensorSpec] = {}
        self.found: list[list[Store]] = []
        self.levels: dict[str, int] = {}
        self.memo: dict[Node, Node] = {}
        self.moved: dict[Node, Node] = {}
        self.stored: dict[Node, str] = {}
        self.axes: dict[Node, frozenset[int]] = {}

    def __call__(self, store: Store) -> Store:
        """``store`` with loads where such values were."""
        self.results = prod(store.shape)
        return replace(store, node=self._rewritten(store.node))

    def place(self, stores: Sequence[Store], looks: Mapping[str, TensorSpec]) -> None:
        """A stage of ``stores``; what later ones ask for may read what of them is named here."""
        placed = [self(store) for store in stores]
        self.scratch |= looks
        self.levels |= dict.fromkeys(looks, len(self.found))
        self.found.append(placed)

    def _rewritten(self, node: Node) -> Node:
        if node not in self.memo:
            if self.limits.tables and self._is_table(node):
                self.memo[node] = self._moved(node)
                return self.memo[node]
            args = [self._rewritten(arg) for arg in node.args]
            if node.op in REDUCTIONS:
                self.memo[node] = self._reduction(node, args[0])
            else:
                done = self.dag.make(node.op, args, node.shape, node.dtype, node.attr)
                self.memo[node] = done
        return self.memo[node]

    def _is_table(self, node: Node) -> bool:
        """Whether ``node`` is dear and the same in every row: a table of one row is cheaper."""
        axes = depends(node, self.axes)
        entries = prod(node.shape[axis] for axis in axes)
        return (
            len(node.shape) - 1 in axes
            and entries <= min(self.limits.most_elements, prod(node.shape) // ROWS_PER_TABLE)
            and cost(node, {}) >= DEAR
            and not any(here.op in REDUCTIONS for here in reachable([node]))
        )

    def _reduction(self, node: Node, arg: Node) -> Node:
        arg = self._without_inner(arg, len(node.shape))
        node = self.dag.make(node.op, (arg,), node.shape, node.dtype)
        results = prod(node.shape[axis] for axis in depends(node, self.axes))
        halved = self._halved(node, self.limits.parts(node, results))
        return halved if halved is node or results >= self.results else self._moved(halved)

    def _halved(self, node: Node, wanted: Iterable[int]) -> Node:
        """A reduction of many partial results, which are a stage of their own."""
        (arg,), rank = node.args, len(node.shape)
        total = prod(arg.shape[rank:])
        parts = next((p for p in wanted if total % p == 0), 1)
        if parts == 1:
            return node
        try:
            split = self.dag.view(arg, Reshape((*arg.shape[:rank], parts, total // parts)))
        except Unsupported:
            return node
        if split.op == "merge":
            return node
        inner = self.dag.view(
            self.dag.reduce(node.op, split, [rank + 1]), Permute((rank, *range(rank)))
        )
        return self.dag.reduce(node.op, self._moved(inner), [0])

    def _without_inner(self, arg: Node, rank: int) -> Node:
        """``arg`` with loads for reductions that differ from column to column."""
        memo: dict[Node, Node] = {}

        def visit(here: Node) -> Node:
            if here not in memo:
                if here.op not in REDUCTIONS:
                    parts = [visit(part) for part in here.args]
                    memo[here] = self.dag.make(here.op, parts, here.shape, here.dtype, here.attr)
                elif max(depends(here, self.axes), default=-1) >= rank:
                    memo[here] = self._moved(here)
                else:
                    memo[here] = here
            return memo[here]

        return visit(arg)

    def _moved(self, node: Node) -> Node:
        """A load of what a stage has stored for ``node``."""
        if node not in self.moved:
            self.moved[node] = self._move(node)
        return self.moved[node]

    def _move(self, node: Node) -> Node:
        axes = sorted(depends(node, self.axes))
        small = node
        for axis in reversed(range(len(node.shape))):
            small = small if axis in axes else self.dag.view(small, Select(axis, 0))
        name = self.stored.get(small) or self._store(small)
        spec, strides = self.scratch[name], [0] * len(node.shape)
        for axis, stride in zip(axes, spec.stride, strict=True):
            strides[axis] = stride
        return self.dag.load(name, node.dtype, spec.dtype, node.shape, strides)

    def _store(self, small: Node) -> str:
        """The name of a new intermediate result, to be stored one stage after what it reads."""
        if prod(small.shape) > self.limits.most_elements:
            raise Unsupported("an intermediate result this large")
        name, memory = f"scratch{len(self.scratch)}", MEMORY[small.dtype]
        spec = TensorSpec(small.shape, (), memory)
        spec = TensorSpec(small.shape, spec.contiguous_stride, memory)
        self.scratch[name] = spec
        level = 1 + max((self.levels[n] for n in self._scratch_in(small)), default=-1)
        self.levels[name] = level
        if level == len(self.found):
            self.found.append([])
        self.found[level].append(Store(name, memory, small, small.shape, spec.stride))
        self.stored[small] = name
        return name

    def _scratch_in(self, node: Node) -> set[str]:
        seen: set[Node] = set()
        stack = [node]
        while stack:
            here = stack.pop()
            if here not in seen:
                seen.add(here)
                stack += here.args
        return {n.attr[0] for n in seen if n.op == "load" and n.attr[0] in self.levels}
