"""A nest whose rows are walked in runs of columns, again in each pass.

The greatest value of a row and the sum of the exponentials of all values less
that one need one pass, not two: partial sums shrink when a greater value turns
up (the online softmax of Milakov and Gimelshein, arXiv:1805.02867).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from kernelite.kernels.loops.axes import Axis
from kernelite.kernels.loops.body import Body
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.passes import Pass
from kernelite.kernels.triton_templates._loops_emit import Index, NestWriter, indented
from kernelite.kernels.triton_templates._loops_tile import power_of_two

LOWEST = 'float("-inf")'


class WalkingWriter(NestWriter):
    """Writes a nest whose tile is chunked."""

    def write(self) -> None:
        """See `NestWriter.write`."""
        self.own_rows()
        for step, sums in _joined(self.steps):
            self._walk(step, sums)
        self.row_stores()

    def _walk(self, step: Pass, sums: Sequence[Node]) -> None:
        """One pass, with ``sums`` of exponentials less the greatest values that it finds."""
        outer, axes = _nested(self.loops.columns[step.context], self.tile.columns)
        size = prod(axis.size for axis in axes)
        width = min(self.tile.columns, power_of_two(size))
        shape = f"[{width}]" if self.flat else f"[{self.tile.rows}, {width}]"
        around, inside = list[str](), list[str]()
        index = self.index_from("block", outer, around) if outer else []
        index += self.columns_from("start + ", axes, width, inside)
        body = self.body(index)
        body.expect(step.roots())
        after = list[str]()
        for node in step.reduces:
            here = [one for one in sums if _top(one) is node]
            after += self._reduced(node, here, body, index, shape)
        for store in step.stores:
            body.lines.append(self.stored(store, body.text(store.node), index))
        loop = [f"for start in tl.range(0, {size}, {width}{self.stages}):"]
        loop += indented([*inside, *body.lines])
        if outer:
            blocks = prod(axis.size for axis in outer)
            loop = [f"for block in tl.range(0, {blocks}):", *indented([*around, *loop])]
        self.lines += loop + after

    def _reduced(
        self, node: Node, sums: Sequence[Node], body: Body, index: Index, shape: str
    ) -> list[str]:
        """What follows the loop; what stands in front of it and in it is added."""
        reduction = self.reduction(node)
        self.lines.append(reduction.declared(shape))
        tile = reduction.operand(body.text(node.args[0]), self.mask(index))
        if not sums:
            body.lines.append(reduction.updated(tile))
            return [reduction.result(f"{reduction.name}_parts")]
        top, parts = reduction.name, f"{reduction.name}_parts"
        body.lines += [
            f"{top}_tile = {tile}",
            f"{top}_new = tl.maximum({parts}, {top}_tile)",
            f"{top}_base = {_finite(f'{top}_new')}",
        ]
        after = [reduction.result(parts), f"{top}_end = {_finite(top)}"]
        for one in sums:
            total = self.reduction(one)
            self.lines.append(total.declared(shape))
            kept = f"{total.name}_parts * tl.exp({parts} - {top}_base)"
            body.lines.append(f"{total.name}_parts = {kept} + tl.exp({top}_tile - {top}_base)")
            after.append(f"{total.name}_parts *= tl.exp({parts} - {top}_end)")
            after.append(total.result(f"{total.name}_parts"))
        body.lines.append(f"{parts} = {top}_new")
        return after


def _nested(axes: Sequence[Axis], width: int) -> tuple[Sequence[Axis], Sequence[Axis]]:
    """The loops around runs of columns, and those whose columns make runs: the last if it can."""
    return (axes[:-1], axes[-1:]) if axes[-1].size >= width else ((), axes)


def _finite(name: str) -> str:
    """0 for what nothing but minus infinity has gone into."""
    return f"tl.where({name} == {LOWEST}, 0.0, {name})"


def _joined(steps: Sequence[Pass]) -> Iterator[tuple[Pass, list[Node]]]:
    """Each pass, with the sums of the next one that it can take along."""
    waiting = list(steps)
    while waiting:
        step, *waiting = waiting
        following = waiting[0] if waiting else None
        if following and following.context == step.context and not following.stores and all(
            _top(node) in step.reduces for node in following.reduces
        ):  # fmt: skip
            waiting = waiting[1:]
            yield step, following.reduces
        else:
            yield step, []


def _top(node: Node) -> Node | None:
    """The greatest value T in a sum of ``exp(a - T)`` over all a; None if it is not such a sum."""
    raised = node.args[0]
    if node.op == "sum" and raised.op == "exp" and raised.args[0].op == "sub":
        value, top = raised.args[0].args
        if top.op == "top" and top.args[0] is value:
            return top
    return None
