"""Does it compute anew each time, from its arguments alone, and leave those as they were?"""

from __future__ import annotations

import torch

from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed, Reason


class Probes:
    """Mutation, replay of old answers, old weights, and results that depend on the call count."""

    order = 90

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        first, second, _ = job.cases.drawn
        for case in (first, second, first):
            outputs, arguments = job.call(case.tensors, echo=True)
            if failed := job.accept("probes", case, outputs):
                return failed
            sent = [*case.tensors, *case.state]
            for index, (before, after) in enumerate(zip(sent, arguments, strict=True)):
                if not torch.equal(before.nan_to_num(), after.nan_to_num()):
                    return Failed("probes", Reason.MUTATION, f"argument {index} was changed")
        if first.state and job.remote is not None:
            other = job.cases.other_state
            for case in (other, first):
                job.remote.ask({"do": "state"}, case.state)
                outputs, _ = job.call(case.tensors)
                if failed := job.accept("probes", case, outputs):
                    return Failed("probes", Reason.STATE, failed.log)
        return "arguments unchanged; A, B, A and new weights answered anew"


STAGE = Probes()
