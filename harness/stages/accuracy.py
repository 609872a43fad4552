"""Is it as accurate as the reference, on fresh inputs and on unfriendly ones?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed


class Accuracy:
    """Every drawn and every changed set of inputs against the float64 oracle."""

    order = 60
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        names = []
        for case in (*job.cases.drawn, *job.cases.ordinary()):
            outputs, _ = job.call(case)
            if failed := job.accept("accuracy", case, outputs):
                return failed
            names.append(case.name)
        return f"error {job.accuracy_ratio:.2f} x the reference's own: {', '.join(names)}"


STAGE = Accuracy()
