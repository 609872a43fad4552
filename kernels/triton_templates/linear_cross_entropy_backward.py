"""Gradients of a loss of a linear layer's logits: 8 M K V operations, no whole logits in memory.

The forward product again (2 M K V, for the sums of exponentials), once more for
the gradients of the logits, and one product each for hidden states and weights.
The gradients of a ``chunk`` of the vocabulary's logits go through memory, M times
chunk elements, since both products need them in tiles that differ; how large
the chunk is trades memory for launches.  The matrix units are the bound, as in
`gemm`, whose kernel computes all but the sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.behind import behind
from kernelite.kernels.matching.cross_entropy_backward import (
    LossGradient,
    into_logits,
    loss_gradient,
)
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.logits import is_whole, operands
from kernelite.kernels.matching.nodes import argument, is_functional, shape_of
from kernelite.kernels.matching.product import Product, product
from kernelite.kernels.matching.source import Source, declared_stride, row_major, source
from kernelite.kernels.matching.steps import passed
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._gemm_tiles import (
    MATRIX,
    MOST_PARTS,
    PROGRAMS,
    Tile,
    suited,
)
from kernelite.kernels.triton_templates._losses import by_rows, reduction
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments, outputs, viewed

BODY = Path(__file__).with_name("_linear_cross_entropy_backward_body.py")
CHUNKS = (8192, 16384, 4096)
LIGHT = 32  # sums of a thread: what is left of the vocabulary lies at odd strides, in registers


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyBackwardPlan:
    """Gradients for hidden states and weights; see `kernels.templates.Plan`.

    Attributes:
        hidden, weight: (M, K) and (K, V) in arguments.
        results: ``into_hidden`` and ``into_weight`` in the order of the outputs.
        given: The flat arguments by name.
        outs: The outputs, as the graph has them.
    """

    found: LossGradient
    hidden: Source
    weight: Source
    results: tuple[str, ...]
    given: Mapping[str, torch.Tensor]
    outs: tuple[torch.Tensor, ...]

    @property
    def label(self) -> str:
        """``linear + cross_entropy backward`` with its reduction."""
        return f"linear + cross_entropy backward ({reduction(self.found.loss)})"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Tile of every product, parts of the vocabulary in the first, classes in a chunk."""
        (rows, inner), classes = self.hidden.layout.shape, self.weight.layout.shape[1]
        shape = rows, min(classes, inner), min(rows, inner)
        every = suited(shape, 1, self.outs[0].element_size())
        tiles = [tile for tile in every if tile.sums(1) <= LIGHT] or every
        needed = power_of_two(-(-PROGRAMS * tiles[0].rows // rows))
        parts = min(MOST_PARTS, needed, power_of_two(classes // tiles[0].columns))
        return {
            "tile": [str(tile) for tile in tiles],
            "parts": tuple(dict.fromkeys((parts, 1))),
            "chunk": CHUNKS,
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        own, grad = self.found.loss, self.found.grad
        facts = {
            "dtype": self.outs[0].dtype, "scale": own.logits.scale, "ignored": own.ignored,
            "divides": own.divides_by_kept, "chunk": chosen["chunk"], "parts": chosen["parts"],
            **Tile.parsed(str(chosen["tile"])).blocks(),
        }  # fmt: skip
        views = [viewed(argument(s.root), s.root, s.layout) for s in (self.hidden, self.weight)]
        views += [by_rows(own.labels), viewed(grad.root.name, grad.root, grad.layout)]
        lines = [*views, *(f"{name}={value}" for name, value in facts.items())]
        call = "".join(f"        {line},\n" for line in lines)
        run = (
            f"def run({', '.join(self.given)}):\n"
            f"    into_hidden, into_weight = linear_cross_entropy_backward(\n{call}    )\n"
            f"    return {', '.join(map(self._shaped, self.results, self.outs))}\n"
        )
        sizes = (*self.hidden.layout.shape, self.weight.layout.shape[1])
        moved = sum(each.nbytes for each in (*self.given.values(), *self.outs))
        work = Work(moved, 8 * prod(sizes), MATRIX.get(self.outs[0].dtype, ""))
        label = f"{self.label}: {'x'.join(map(str, sizes))} (M, K, V)"
        return written(label, work, BODY, run)

    def _shaped(self, name: str, out: torch.Tensor) -> str:
        return name if out.dim() == 2 else f"{name}.view({tuple(out.shape)})"


class LinearCrossEntropyBackwardTemplate:
    """Logits are computed twice and their gradients used twice, a chunk at a time."""

    def match(self, graph: fx.GraphModule) -> LinearCrossEntropyBackwardPlan | None:
        """A plan if the graph is what autograd makes of a loss of a product of arguments."""
        wide = widened(graph)
        slopes = into_logits(wide)
        if not is_functional(wide) or len(slopes) != 1 or len(outputs(wide)) != 2:
            return None
        every = {n: own for n in wide.graph.nodes if (own := product(n)) is not None}
        forward = {n: own for n, own in every.items() if n < slopes[0]}
        if len(every) != 3 or len(forward) != 1:
            return None
        ((node, own),) = forward.items()
        names = {each: argument(each) for each in wide.graph.find_nodes(op="placeholder")}
        found, both = loss_gradient(behind(slopes[0], names, forward)), operands(own)
        if found is None or both is None or not _fits(found, node):
            return None
        results = [_result(out, slopes[0], *both) for out in outputs(wide)]
        if sorted(map(str, results)) != ["into_hidden", "into_weight"]:
            return None
        scale = found.loss.logits.scale
        if both[0].scale != 1 or both[1].scale != 1 or scale != 1:
            return None
        outs = tuple(out.meta["memory"] for out in outputs(wide))
        given = arguments(graph)
        kinds = {given[argument(s.root)].dtype for s in both} | {out.dtype for out in outs}
        if len(kinds) != 1:
            return None
        return LinearCrossEntropyBackwardPlan(found, *both, tuple(map(str, results)), given, outs)


def _fits(found: LossGradient, node: fx.Node) -> bool:
    """Whether the gradient is that of all logits of ``node``, and of one step per axis."""
    logits, labels = found.loss.logits, found.loss.labels
    if logits.root.name != "product0" or not is_whole(logits, node) or found.grad.scale != 1:
        return False
    return len(labels.layout.dims[0]) < 3 and all(len(own) < 2 for own in found.grad.layout.dims)


def _result(out: fx.Node, slopes: fx.Node, hidden: Source, weight: Source) -> str | None:
    """Which of the two gradients an output is; None if it is another one."""
    node: fx.Node | None = out
    while node is not None and product(node) is None:
        node = passed(node, kept=0)
    own = product(node) if node is not None else None
    if own is None or own.offset is not None or own.scale != 1 or not own.is_ordered:
        return None
    if declared_stride(out) != row_major(shape_of(out)):
        return None
    shape = shape_of(slopes)
    whole = Layout.strided(shape, row_major(shape))
    left, right = source(own.left, {slopes: whole}), source(own.right)
    if left is None or right is None or left.root is not slopes or left.scale * right.scale != 1:
        return None
    pair = _flat(own, left.layout, right.layout)
    if pair == (whole, weight.layout.permuted((1, 0))) and right.root is weight.root:
        return "into_hidden"
    if pair == (whole.permuted((1, 0)), hidden.layout) and right.root is hidden.root:
        return "into_weight"
    return None


def _flat(own: Product, left: Layout, right: Layout) -> tuple[Layout | None, Layout | None]:
    """The operands as matrices, if the product has no batches but of rows."""
    whole, weights = own.left_layout(left), own.right_layout(right)
    rows = prod(own.lead) * own.rows
    if whole is None or weights is None or any(step for _, step in weights.dims[0]):
        return None, None
    return whole.regrouped((rows, own.inner)), Layout(weights.dims[1:], weights.offset)


TEMPLATE = LinearCrossEntropyBackwardTemplate()
