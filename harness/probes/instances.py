"""Do two instances with different weights keep out of each other's way?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason


def probe(job: Job) -> str | Failed:
    """Calls of both, interleaved."""
    first, other = job.cases.drawn[0], job.cases.other_state
    if not first.state:
        return ""
    job.runner.load(job.cases.instance.signature, other.state, slot=1)
    for case, slot in ((first, 0), (other, 1), (first, 0), (other, 1)):
        outputs, _ = job.call(case, slot=slot)
        if failed := job.accept("probes", case, outputs):
            return Failed("probes", Reason.STATE, f"two instances: {failed.log}")
    return "two instances apart"
