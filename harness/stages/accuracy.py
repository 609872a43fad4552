"""Is it as accurate as the reference, on fresh inputs and on unfriendly ones?"""

from __future__ import annotations

from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed


class Accuracy:
    """Every drawn and every changed set of inputs against the float64 oracle."""

    order = 60

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        cases = [*job.cases.drawn, *job.cases.distributions]
        for case in cases:
            outputs, _ = job.call(case.tensors)
            if failed := job.accept("accuracy", case, outputs):
                return failed
        return f"error {job.accuracy_ratio:.2f} x the reference's own, {len(cases)} sets of inputs"


STAGE = Accuracy()
