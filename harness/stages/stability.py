"""Does its arithmetic hold where the reference's does?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed

SLACK = 4.0


class Stability:
    """Values far from zero, equal, huge and denormal, with room for error.

    Where the problem itself magnifies the last digit of its inputs, as a norm of
    equal elements does, a kernel may do so, too: what is asked is backward
    stability (Higham, Accuracy and Stability of Numerical Algorithms, section 1.5).
    """

    order = 65
    thorough = True

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        names = []
        for case in job.cases.extreme():
            outputs, _ = job.call(case)
            if job.accept("stability", case, outputs, SLACK):
                inherent = job.cases.inherent(case)
                if failed := job.accept("stability", case, outputs, SLACK, inherent):
                    return failed
            names.append(case.name)
        return f"within {SLACK:g} x the budget: {', '.join(names) or 'nothing to strain'}"


STAGE = Stability()
