"""Is the problem worth judging with: deterministic, finite, and hard to answer with a constant?"""

from __future__ import annotations

import torch

from kernelite.harness.job import Job
from kernelite.harness.oracle import compare
from kernelite.harness.verdict import Failed, Reason
from kernelite.problems.tensors import identical


class Admission:
    """Asked once per problem; later candidates reuse the answer."""

    order = 10
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        if job.cases.admitted is None:
            job.cases.admitted = self._admit(job)
        return job.cases.admitted

    def _admit(self, job: Job) -> str | Failed:
        cases = job.cases
        case = cases.drawn[0]
        again = cases.case("again", cases.instance.inputs)
        if not identical(case.reference, again.reference):
            return _degenerate("the reference gives two answers to the same inputs")
        floats = [t for t in case.reference if t.is_floating_point()]
        if any(bool(t.isnan().any()) for t in floats):
            return _degenerate("the reference gives NaN for its own inputs")
        zeros = [torch.zeros_like(t) for t in case.reference]
        for case in cases.drawn:
            if compare(zeros, case.reference, case.truth, cases.reduction)[1]:
                return (
                    f"deterministic, finite; zeros are refused; {len(cases.drawn)} sets of inputs"
                )
        return _degenerate("zeros would pass as its output")


def _degenerate(text: str) -> Failed:
    return Failed("admission", Reason.DEGENERATE, text)


STAGE = Admission()
