"""Which values each pass over the columns computes, reduces, keeps and stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kernelite.kernels.loops.axes import Levels, Loops, Shape
from kernelite.kernels.loops.ir import REDUCTIONS, Node
from kernelite.kernels.loops.nest import Store
from kernelite.kernels.loops.ops import cost

CHEAP = 2.0
"""What is recomputed rather than kept: a load and one operation."""


@dataclass(slots=True)
class Pass:
    """One walk over the columns of a row.

    Attributes:
        context: Key of the column loops.
        reduces: Reductions that it completes.
        stores: Outputs that it writes.
        keeps: Values that later passes read from a row buffer.
    """

    context: Shape
    reduces: list[Node] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    keeps: list[Node] = field(default_factory=list)

    def roots(self) -> list[Node]:
        """What the loop body must compute."""
        found = [node.args[0] for node in self.reduces] + [store.node for store in self.stores]
        return list(dict.fromkeys(found + self.keeps))


def passes(loops: Loops, levels: Levels, keep: bool) -> list[Pass]:
    """The passes of ``loops``, in order; row-level stores are in none of them."""
    found: dict[tuple[int, Shape], Pass] = {}
    for node in loops.order:
        if node.op in REDUCTIONS:
            key = levels.level[node] - 1, loops.context(node.args[0].shape)
            found.setdefault(key, Pass(key[1])).reduces.append(node)
    for store in loops.nest.stores:
        if in_columns(loops, store):
            key = levels.level[store.node], loops.context(store.shape)
            found.setdefault(key, Pass(key[1])).stores.append(store)
    ordered = [found[key] for key in sorted(found)]
    if keep:
        _keep(ordered, levels)
    return ordered


def in_columns(loops: Loops, store: Store) -> bool:
    """Whether ``store`` writes something for each column."""
    return bool(loops.columns.get(loops.context(store.shape)))


def _keep(ordered: list[Pass], levels: Levels) -> None:
    """Mark what is dear to compute and needed again in a later pass."""
    first: dict[tuple[Shape, Node], Pass] = {}
    kept: dict[tuple[Shape, Node], Pass] = {}
    for step in ordered:
        stack = step.roots()
        seen: set[Node] = set()
        while stack:
            node = stack.pop()
            if node in seen or not levels.in_columns(node):
                continue
            seen.add(node)
            key = step.context, node
            earlier = first.setdefault(key, step)
            if earlier is not step and (key in kept or cost(node, {}) > CHEAP):
                if key not in kept:
                    kept[key] = earlier
                    earlier.keeps.append(node)
                continue
            stack += node.args


def kept_before(ordered: Iterable[Pass], step: Pass) -> set[Node]:
    """Values that passes before ``step`` over the same columns have kept."""
    found: set[Node] = set()
    for earlier in ordered:
        if earlier is step:
            return found
        if earlier.context == step.context:
            found.update(earlier.keeps)
    return found
