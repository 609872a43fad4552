"""Are its gradients right, if the problem asks for them?"""

from __future__ import annotations

import torch

from kernelite.harness import gradients
from kernelite.harness.cases import Case
from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Skipped


class Gradients:
    """All inputs and parameters, for one random cotangent, against float64."""

    order = 97
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if not job.cases.demands.gradients:
            return Skipped("the problem does not ask for them")
        first, model = job.cases.drawn[0], job.cases.instance.model
        generator = torch.Generator().manual_seed(job.cases.seed + 41)
        cotangents = [
            torch.empty_like(t).normal_(generator=generator)
            for t in first.reference
            if t.is_floating_point()
        ]
        arguments = [*first.tensors, *first.state]
        own = gradients.of(job.cases.as_function(model), arguments, cotangents)
        truth = gradients.of(
            job.cases.as_function(model), [_raised(t) for t in arguments],
            [c.double() for c in cotangents],
        )  # fmt: skip
        case = Case("gradients", first.tensors, first.state, tuple(own), tuple(truth))
        found = job.gradients(case, cotangents)
        failed = job.accept("gradients", case, found)
        return failed or f"{len(own)} gradients within the budget"


def _raised(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


STAGE = Gradients()
