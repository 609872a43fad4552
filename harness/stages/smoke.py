"""Does it load, return, and give tensors of the right look?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed


class Smoke:
    """The first call, in a new runner."""

    order = 40
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        case = job.cases.drawn[0]
        outputs, _ = job.call(case)
        return job.accept("smoke", case, outputs) or f"{len(outputs)} outputs as declared"


STAGE = Smoke()
