"""Does it compute anew each time, from its arguments alone, and leave those as they were?"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed, Reason


class Probes:
    """Mutation, old answers, old weights, and outputs that a later call overwrites."""

    order = 90

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        first, second, _ = job.cases.drawn
        kept: list[torch.Tensor] = []
        # The third takes the place of the second in memory: who goes by address answers that.
        for case, reuse in ((first, False), (second, False), (first, True)):
            outputs, arguments = job.call(case.tensors, echo=True, reuse=reuse)
            if failed := job.accept("probes", case, outputs):
                return failed
            sent = [*case.tensors, *case.state]
            for index, (before, after) in enumerate(zip(sent, arguments, strict=True)):
                if not _same([before], [after]):
                    return Failed("probes", Reason.MUTATION, f"argument {index} was changed")
            if case is second and not _same(kept, job.outputs("earlier")):
                return Failed(
                    "probes", Reason.STATE, "a call changed the outputs of an earlier one"
                )
            kept = outputs
        return self._new_state(job) or "arguments unchanged; A, B, A and new weights answered anew"

    def _new_state(self, job: Job) -> Failed | None:
        """Other weights, then the old ones again in the same memory, as load_state_dict does it."""
        first, remote = job.cases.drawn[0], job.remote
        if not first.state or remote is None:
            return None
        for case, in_place in ((job.cases.other_state, False), (first, True)):
            remote.ask({"do": "state", "in_place": in_place}, case.state)
            outputs, _ = job.call(case.tensors)
            if failed := job.accept("probes", case, outputs):
                return Failed("probes", Reason.STATE, failed.log)
        return None


def _same(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> bool:
    """Whether the tensors look alike and hold the same values, NaN being equal to NaN."""
    return all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(before, after, strict=True)
    )


STAGE = Probes()
