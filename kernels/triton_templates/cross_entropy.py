"""Cross entropy straight from logits: bytes = rows x classes x size, 4 operations per element.

That is at most 2 operations per byte, so that memory is the bound: every logit
is read once, in chunks that keep a running maximum and sum of exponentials, and
neither a softmax nor a log-softmax is ever in memory.  Long rows (vocabularies)
are walked by a program each; few of them are cut into ``parts``, whose sums a
second kernel joins, so that all multiprocessors read.  Short rows share a
program, ``rows`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.cross_entropy import Loss, loss
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._losses import by_rows, called, reduction
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._tiles import power_of_two, within
from kernelite.kernels.triton_templates._views import arguments, outputs

BODY = Path(__file__).with_name("_cross_entropy_body.py")
OPERATIONS = 4  # comparison, difference, exponential, sum
BLOCKS = (4096, 2048, 1024, 8192)
TILE = 4096  # elements that a program of four warps has in registers, about 32 each
PROGRAMS = 256  # what fills the multiprocessors of a GPU
MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class CrossEntropyPlan:
    """A graph that is one cross entropy; see `kernels.templates.Plan`.

    Attributes:
        given: The flat arguments by name, of the types that they have in memory.
        out: The loss, as the graph has it.
    """

    loss: Loss
    given: Mapping[str, torch.Tensor]
    out: torch.Tensor

    @property
    def label(self) -> str:
        """``cross_entropy`` with its reduction."""
        return f"cross_entropy ({reduction(self.loss)})"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Classes in a chunk, rows of a program, parts of a row, warps."""
        rows, classes = self.loss.logits.layout.shape
        blocks = within(BLOCKS, classes)
        some = min(max(1, TILE // blocks[0]), power_of_two(rows))
        needed = power_of_two(-(-PROGRAMS * some // rows))
        parts = min(MOST_PARTS, needed, power_of_two(classes // blocks[0]))
        return {
            "block": blocks,
            "rows": tuple(dict.fromkeys((some, max(1, some // 2), 1))),
            "parts": tuple(dict.fromkeys((parts, 1))),
            "warps": (4, 8),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        own, (rows, classes) = self.loss, self.loss.logits.layout.shape
        numbers = {name: values[0] for name, values in self.space.items()} | dict(choices)
        views = [by_rows(own.logits), by_rows(own.labels)]
        run = called("cross_entropy", own, self.out, list(self.given), views, numbers)
        return written(f"{self.label} of {rows} x {classes} logits", self._work, BODY, run)

    @property
    def _work(self) -> Work:
        rows, classes = self.loss.logits.layout.shape
        sizes = [self.given[argument(source.root)].element_size()
                 for source in (self.loss.logits, self.loss.labels)]  # fmt: skip
        moved = rows * (classes * sizes[0] + sizes[1]) + self.out.nbytes
        return Work(moved, OPERATIONS * rows * classes)


class CrossEntropyTemplate:
    """Log-sum-exp and the label's logit in one pass over each row."""

    def match(self, graph: fx.GraphModule) -> CrossEntropyPlan | None:
        """A plan if the graph is one cross entropy over its arguments, in float32 or half."""
        found = loss(widened(graph))
        if found is None or any(len(s.layout.dims[0]) > 2 for s in (found.logits, found.labels)):
            return None
        return CrossEntropyPlan(found, arguments(graph), outputs(graph)[0].meta["val"])


TEMPLATE = CrossEntropyTemplate()
