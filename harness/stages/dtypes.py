"""Is it right in the other dtypes that the problem asks for?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.variants import retyped
from kernelite.harness.verdict import Failed, Skipped


class Dtypes:
    """Inputs and weights in each dtype, judged by that dtype's own error budget."""

    order = 55
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if not (names := job.cases.demands.dtypes):
            return Skipped("the problem asks for its own dtypes only")
        found = (retyped(job.cases, name) for name in names)
        return job.judge_variants("dtypes", (variant for variant in found if variant))


STAGE = Dtypes()
