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
from kernelite.kernels.matching.logits import is_whole, operands
from kernelite.kernels.matching.nodes import argument, is_functional
from kernelite.kernels.matching.product import product
from kernelite.kernels.matching.source import Source
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
        both = operands(own)
        if found is None or both is None or len(found.labels.layout.dims[0]) > 2:
            return None
        if found.logits.root.name != "product0" or not is_whole(found.logits, node):
            return None
        scale = found.logits.scale * both[0].scale * both[1].scale
        whole = replace(found, logits=replace(found.logits, scale=scale))
        given = arguments(graph)
        kinds = {given[argument(operand.root)].dtype for operand in both}
        if len(kinds) != 1:
            return None
        return LinearCrossEntropyPlan(whole, *both, given, outputs(wide)[0].meta["memory"])


TEMPLATE = LinearCrossEntropyTemplate()
