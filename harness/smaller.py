"""Is a kernel that took more memory than a GPU has at least right on less of its problem?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed
from kernelite.problems.problem import flat_tensors, instantiate
from kernelite.problems.shrink import shrunk

if TYPE_CHECKING:
    from kernelite.harness.judge import Judge

SHARE = 8  # of the elements, one is left
FEWEST = 1 << 20  # elements of inputs; with fewer it is not the problem that fills a GPU


def told(job: Job, fewest: int = FEWEST) -> str:
    """What the same stages say of it on a smaller version, as far as there is one.

    It never makes the verdict better: the problem that was asked about needs more than there is.
    """
    from kernelite.harness.judge import Judge

    first = job.judge
    most = _elements(first) // SHARE
    problem = shrunk(first.problem, most)
    if most < fewest or problem == first.problem:
        return "the problem has no smaller version that would say more"
    effort = replace(job.effort, rounds=0, baselines=(), replay=False)
    with Judge(
        problem, first.server, first.threads, timeout_s=first.timeout_s, placement=first.placement
    ) as other:
        found, size = other.evaluate(job.kernel, effort, job.device).evaluation, _elements(other)
    said = f"fails at {found.stage}: {found.log}" if isinstance(found, Failed) else "is right"
    return f"on a version with {size} elements of inputs it {said}"


def _elements(judge: Judge) -> int:
    inputs = flat_tensors(instantiate(judge.problem, judge.seed).inputs)
    return sum(tensor.numel() for tensor in inputs)
