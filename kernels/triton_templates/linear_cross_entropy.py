"""Cross entropy of a linear layer's logits, which are never in memory: 2 M K V operations.

M tokens of K numbers and V classes: M K + K V elements are read, against
3 M V times four bytes for logits that are written, widened and read again.  With
thousands of tokens the matrix units are the bound, so that the tiles are those
of `gemm`: each program has some rows, walks over its part of the vocabulary and
keeps of every tile of logits the maximum, the sum of exponentials and what the
labels hit.  Parts of the vocabulary go to different programs where rows are
few; a second kernel joins them and reduces the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.behind import behind
from kernelite.kernels.matching.cross_entropy import Loss, loss
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument, is_functional, shape_of
from kernelite.kernels.matching.product import Product, product
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._gemm_tiles import (
    MATRIX,
    MOST_PARTS,
    PROGRAMS,
    Tile,
    suited,
)
from kernelite.kernels.triton_templates._losses import by_rows, called, reduction
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments, outputs, viewed

BODY = Path(__file__).with_name("_linear_cross_entropy_body.py")


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyPlan:
    """A loss of a product; see `kernels.templates.Plan`.

    Attributes:
        hidden: (M, K) in an argument.
        weight: (K, V) in an argument.
        given: The flat arguments by name.
        out: The loss, as the graph has it.
    """

    loss: Loss
    hidden: Source
    weight: Source
    given: Mapping[str, torch.Tensor]
    out: torch.Tensor

    @property
    def label(self) -> str:
        """``linear + cross_entropy`` with its reduction."""
        return f"linear + cross_entropy ({reduction(self.loss)})"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Tile of logits, and parts of the vocabulary."""
        tiles, classes = self._tiles, self.weight.layout.shape[1]
        blocks = -(-self.hidden.layout.shape[0] // tiles[0].rows)
        needed = power_of_two(-(-PROGRAMS // blocks))
        parts = min(MOST_PARTS, needed, power_of_two(classes // tiles[0].columns))
        return {
            "tile": [str(tile) for tile in tiles],
            "parts": tuple(dict.fromkeys((parts, 1, min(MOST_PARTS, 2 * parts)))),
        }

    @property
    def _tiles(self) -> list[Tile]:
        (rows, inner), classes = self.hidden.layout.shape, self.weight.layout.shape[1]
        size = self.given[argument(self.hidden.root)].element_size()
        return suited((rows, classes, inner), 1, size)

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        tile = Tile.parsed(str(chosen["tile"]))
        views = [viewed(argument(own.root), own.root, own.layout)
                 for own in (self.hidden, self.weight)]  # fmt: skip
        views.append(by_rows(self.loss.labels))
        numbers = {"parts": chosen["parts"], **tile.blocks()}
        run = called("linear_cross_entropy", self.loss, self.out, list(self.given), views, numbers)
        sizes = (*self.hidden.layout.shape, self.weight.layout.shape[1])
        label = f"{self.label}: {'x'.join(map(str, sizes))} (M, K, V)"
        moved = sum(each.nbytes for each in (*self.given.values(), self.out))
        matrix = MATRIX.get(self.given[argument(self.hidden.root)].dtype, "")
        return written(label, Work(moved, 2 * prod(sizes), matrix), BODY, run)


class LinearCrossEntropyTemplate:
    """Log-sum-exp and the label's logit over tiles of a product."""

    def match(self, graph: fx.GraphModule) -> LinearCrossEntropyPlan | None:
        """A plan if the graph is one cross entropy of a product of two arguments."""
        wide = widened(graph)
        products = {n: own for n in wide.graph.nodes if (own := product(n)) is not None}
        if len(products) != 1 or len(outputs(wide)) != 1 or not is_functional(wide):
            return None
        ((node, own),) = products.items()
        names = {each: argument(each) for each in wide.graph.find_nodes(op="placeholder")}
        found = loss(behind(outputs(wide)[0], names, products))
        operands = _operands(own)
        if found is None or operands is None or len(found.labels.layout.dims[0]) > 2:
            return None
        if found.logits.root.name != "product0" or not _is_whole(found.logits, node):
            return None
        scale = found.logits.scale * operands[0].scale * operands[1].scale
        whole = replace(found, logits=replace(found.logits, scale=scale))
        given = arguments(graph)
        kinds = {given[argument(operand.root)].dtype for operand in operands}
        if len(kinds) != 1:
            return None
        return LinearCrossEntropyPlan(whole, *operands, given, outputs(wide)[0].meta["memory"])


def _operands(own: Product) -> tuple[Source, Source] | None:
    """The product's operands as (M, K) and (K, V), if arguments have them."""
    left, right = source(own.left), source(own.right)
    if left is None or right is None or not (left.is_float and right.is_float):
        return None
    rows = prod(own.lead) * own.rows
    whole, weights = own.left_layout(left.layout), own.right_layout(right.layout)
    flat = whole and whole.regrouped((rows, own.inner))
    if flat is None or weights is None or any(step for _, step in weights.dims[0]):
        return None
    matrix = Layout(weights.dims[1:], weights.offset)
    if None in (*map(flat.step, range(2)), *map(matrix.step, range(2))) or not own.is_ordered:
        return None
    return replace(left, layout=flat), replace(right, layout=matrix)


def _is_whole(logits: Source, node: fx.Node) -> bool:
    """Whether the loss is that of all logits, in their order."""
    shape = shape_of(node)
    own = Layout.strided(shape, row_major(shape)).regrouped(logits.layout.shape)
    return own == logits.layout


TEMPLATE = LinearCrossEntropyTemplate()
