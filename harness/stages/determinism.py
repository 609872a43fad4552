"""Does it give the same bits twice?"""

from __future__ import annotations

import torch

from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed


class Determinism:
    """A note, not a verdict: a kernel that sums in changing order is still right."""

    order = 70

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        case = job.cases.drawn[0]
        runs = [job.call(case.tensors)[0] for _ in range(3)]
        same = all(
            torch.equal(a.nan_to_num(), b.nan_to_num())
            for run in runs[1:]
            for a, b in zip(runs[0], run, strict=True)
        )
        return "bitwise equal in 3 runs" if same else "differs between runs within its error budget"


STAGE = Determinism()
