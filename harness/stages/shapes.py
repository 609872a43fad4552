"""Is it right at other sizes of the axes, if the problem asks for that?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.variants import resized
from kernelite.harness.verdict import Failed, Skipped


class Shapes:
    """Sizes that everybody knows and some that only the judge does, one after another."""

    order = 50
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if not job.cases.demands.general:
            return Skipped("the problem asks for its own sizes only; a patch guards them")
        return job.judge_variants("shapes", resized(job.cases))


STAGE = Shapes()
