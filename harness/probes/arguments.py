"""Are arguments left alone, and outputs memory of their own?"""

from __future__ import annotations

from collections import deque

import torch

from kernelite.harness.job import Job
from kernelite.harness.runner import HELD
from kernelite.harness.verdict import Failed, Reason
from kernelite.problems.tensors import identical


def probe(job: Job) -> str | Failed:
    """Three sets of inputs, then the first again; the third takes the memory of the second.

    Who goes by address, or returns a view of an input, shows there.
    """
    first, second, third = job.cases.drawn
    kept: deque[list[torch.Tensor]] = deque(maxlen=HELD)
    for case, reuse in ((first, False), (second, False), (third, True), (first, False)):
        outputs, arguments = job.call(case, echo=True, reuse=reuse)
        if failed := job.accept("probes", case, outputs):
            return failed
        sent = [*case.tensors, *case.state]
        for index, (before, after) in enumerate(zip(sent, arguments, strict=True)):
            if not identical([before], [after]):
                return Failed("probes", Reason.MUTATION, f"argument {index} was changed")
        kept.append(outputs)
        if failed := _kept_changed(job, kept, reuse):
            return failed
    return "arguments unchanged, outputs their own"


def _kept_changed(job: Job, kept: deque[list[torch.Tensor]], reuse: bool) -> Failed | None:
    """Whether the outputs of the calls before the last are still what they were."""
    if job.cases.views:
        return None
    for back in range(2, len(kept) + 1):
        if not identical(kept[-back], job.held(back)):
            reason = Reason.ALIAS if reuse else Reason.STATE
            what = "new contents of an input" if reuse else "a call"
            return Failed("probes", reason, f"{what} changed the outputs of an earlier one")
    return None
