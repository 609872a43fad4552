"""The gradient of a cross entropy: logits are read and as many gradients written.

The probabilities need the whole row before the first of them is known, so that
a row is walked twice; the second walk finds it in the cache, since a program
holds a few rows only: 2 x rows x classes x size bytes of memory, about 8
operations per element, and memory is the bound.  No probability and no one-hot
row is ever in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.cross_entropy_backward import LossGradient, loss_gradient
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._losses import by_rows, reduction
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._tiles import power_of_two, within
from kernelite.kernels.triton_templates._views import arguments, outputs, viewed

BODY = Path(__file__).with_name("_cross_entropy_backward_body.py")
OPERATIONS = 8
BLOCKS = (4096, 2048, 1024, 8192)
TILE = 4096  # elements that a program of four warps has in registers, about 32 each


@dataclass(frozen=True, slots=True)
class CrossEntropyBackwardPlan:
    """The gradient of one cross entropy; see `kernels.templates.Plan`.

    Attributes:
        given: The flat arguments by name.
        out: The gradient, as the graph has it.
    """

    found: LossGradient
    given: Mapping[str, torch.Tensor]
    out: torch.Tensor

    @property
    def label(self) -> str:
        """``cross_entropy backward`` with its reduction."""
        return f"cross_entropy backward ({reduction(self.found.loss)})"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Classes in a chunk, rows of a program, warps."""
        rows, classes = self.found.loss.logits.layout.shape
        blocks = within(BLOCKS, classes)
        some = min(max(1, TILE // blocks[0]), power_of_two(rows))
        return {
            "block": blocks,
            "rows": tuple(dict.fromkeys((some, max(1, some // 2), 1))),
            "warps": (4, 8),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        own, grad = self.found.loss, self.found.grad
        numbers = {name: values[0] for name, values in self.space.items()} | dict(choices)
        facts = {"dtype": self.out.dtype, "scale": own.logits.scale, "ignored": own.ignored,
                 "divides": own.divides_by_kept, **numbers}  # fmt: skip
        lines = [by_rows(own.logits), by_rows(own.labels),
                 viewed(argument(grad.root), grad.root, grad.layout),
                 *(f"{name}={value}" for name, value in facts.items())]  # fmt: skip
        call = "".join(f"        {line},\n" for line in lines)
        shape = "" if self.out.dim() == 2 else f".view({tuple(self.out.shape)})"
        given = ", ".join(self.given)
        run = f"def run({given}):\n    return cross_entropy_backward(\n{call}    ){shape}"
        rows, classes = own.logits.layout.shape
        moved = sum(each.nbytes for each in (*self.given.values(), self.out))
        work = Work(moved, OPERATIONS * rows * classes)
        return written(f"{self.label} of {rows} x {classes} logits", work, BODY, run)


class CrossEntropyBackwardTemplate:
    """Probabilities less one at the label, times the gradient of the row's loss."""

    def match(self, graph: fx.GraphModule) -> CrossEntropyBackwardPlan | None:
        """A plan if the graph is what autograd makes of one cross entropy of arguments."""
        wide = widened(graph)
        found = loss_gradient(wide)
        if found is None or found.grad.scale != 1:
            return None
        sources = found.loss.logits, found.loss.labels
        if any(len(own.layout.dims[0]) > 2 for own in sources) or found.loss.wraps:
            return None
        if any(len(own) > 1 for own in found.grad.layout.dims):
            return None
        return CrossEntropyBackwardPlan(found, arguments(graph), outputs(graph)[0].meta["val"])


TEMPLATE = CrossEntropyBackwardTemplate()
