"""Does it give the same answer twice?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed
from kernelite.problems.tensors import identical

RUNS, QUICK_RUNS = 5, 3
DRIFT = 0.25


class Determinism:
    """Bits may differ, as sums in changing order do; by a quarter of the budget at most."""

    order = 70
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        case = job.cases.drawn[0]
        count = RUNS if job.effort.thorough else QUICK_RUNS
        first, *others = [job.call(case)[0] for _ in range(count)]
        changed = [run for run in others if not identical(first, run)]
        for run in changed:
            moved = [
                truth + (b.double() - a.double()) if truth.is_floating_point() else b
                for truth, a, b in zip(case.truth, first, run, strict=True)
            ]
            if failed := job.accept("determinism", case, moved, DRIFT):
                return failed
        if not changed:
            return f"bitwise equal in {count} runs"
        return f"{len(changed)} of {count} runs differ, by less than a quarter of the error budget"


STAGE = Determinism()
