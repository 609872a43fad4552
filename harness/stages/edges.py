"""Does it cope with inputs that lie otherwise in memory, and with NaN and infinities?"""

from __future__ import annotations

from kernelite.harness.cases import laid_out_otherwise
from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed


class Edges:
    """Other strides and alignment; NaN and infinity must end up where the reference has them."""

    order = 80

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        first = job.cases.drawn[0]
        outputs, _ = job.call([laid_out_otherwise(t) for t in first.tensors])
        if failed := job.accept("edges", first, outputs):
            return failed
        for name, value in (("NaN", float("nan")), ("+inf", float("inf"))):
            case = job.cases.special(name, value)
            if case is None:
                continue
            outputs, _ = job.call(case.tensors)
            if failed := job.accept("edges", case, outputs):
                return failed
        return "other strides and offset, NaN and infinity placed as the reference does"


STAGE = Edges()
