"""Does every element of every argument count, at every call?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason


def probe(job: Job) -> str | Failed:
    """One element changed behind the kernel's back, then the old contents in new memory."""
    first, cases = job.cases.drawn[0], job.cases
    for case, reuse in ((first, False), (cases.one_changed(weights=False), True), (first, False)):
        outputs, _ = job.call(case, reuse=reuse)
        if failed := job.accept("probes", case, outputs):
            return Failed("probes", Reason.STATE, failed.log)
    return _weights(job) or "answers follow each element and weight"


def _weights(job: Job) -> Failed | None:
    """Other weights, one weight changed, and the old ones, as load_state_dict puts them."""
    first, cases = job.cases.drawn[0], job.cases
    if not first.state:
        return None
    changed = cases.one_changed(weights=True)
    for case, in_place in (
        (cases.other_state, False), (first, True), (changed, True), (first, True),
    ):  # fmt: skip
        job.runner.set_state(case.state, in_place=in_place)
        outputs, _ = job.call(case)
        if failed := job.accept("probes", case, outputs):
            return Failed("probes", Reason.STATE, failed.log)
    return None
