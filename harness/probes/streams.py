"""Does it work on the current stream, after whatever is queued there?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason


def probe(job: Job) -> str | Failed:
    """One call on another stream than the default one, where its inputs arrive late.

    A kernel that is launched elsewhere, or that nobody waits for, reads or leaves NaN.
    """
    if not job.judge.placement.accelerator:
        return "no streams on a CPU"
    case = job.cases.drawn[0]
    outputs, _ = job.call(case, late=True)
    if failed := job.accept("probes", case, outputs):
        return Failed("probes", Reason.STATE, f"not on the current stream: {failed.log}")
    return "works on the current stream"
