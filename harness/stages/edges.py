"""Does it cope with inputs that lie otherwise in memory, with NaN, infinities and no elements?"""

from __future__ import annotations

import math

from kernelite.harness.cases import LAYOUTS
from kernelite.harness.job import Job
from kernelite.harness.variants import emptied
from kernelite.harness.verdict import Failed, Skipped

SPECIALS = {"NaN": math.nan, "+inf": math.inf, "-inf": -math.inf}
QUICK = 1  # of each, for a candidate of a search


class Edges:
    """NaN and infinity must end up where the reference has them."""

    order = 80
    thorough = False

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        return self._layouts(job) or self._specials(job) or self._empty(job)

    def _layouts(self, job: Job) -> Failed | None:
        for name, laid_out in list(LAYOUTS.items())[: None if job.effort.thorough else QUICK]:
            case = job.cases.laid_out(name, laid_out)
            outputs, _ = job.call(case)
            if failed := job.accept("edges", case, outputs):
                return failed
        return None

    def _specials(self, job: Job) -> Failed | None:
        for name, value in list(SPECIALS.items())[: None if job.effort.thorough else QUICK]:
            if (case := job.cases.special(name, value)) is None:
                continue
            outputs, _ = job.call(case)
            if failed := job.accept("edges", case, outputs):
                return failed
        return None

    def _empty(self, job: Job) -> str | Failed:
        if not job.effort.thorough:
            return "one other layout, NaN placed as the reference does"
        found = f"{', '.join(LAYOUTS)}; {', '.join(SPECIALS)} placed as the reference does"
        if not job.cases.demands.general:
            return found
        empty = job.judge_variants("edges", emptied(job.cases))
        return empty if isinstance(empty, Failed) else f"{found}; {empty}"


STAGE = Edges()
