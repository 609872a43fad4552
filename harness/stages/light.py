"""Is the time one that the machine can reach at all?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason, Skipped
from kernelite.kernels.devices import Calibration, calibrate, cpu
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import NotTraceable, flat_graph

MARGIN = 0.95


class SpeedOfLight:
    """Compulsory bytes at the best measured bandwidth: nobody gets below that.

    Operations bound no one: algebra may need fewer of them than the reference writes down,
    as ``mean(x @ w)`` does.  A kernel that beats the peak at the reference's count is told so.
    """

    order = 110
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if job.timing is None:
            return Skipped("no timing was asked for")
        if job.judge.placement.accelerator:
            return Skipped("the ceilings of a GPU are not measured")
        known = calibrate.known(cpu.detect(job.judge.threads))
        if known is None:
            return Skipped("this machine's ceilings are unknown; measure them: kernelite calibrate")
        try:
            memory_us, compute_us = _bounds_us(job, known)
        except NotTraceable as why:
            return Skipped(f"the work cannot be counted: {why}")
        taken_us = job.timing.worst.candidate_us
        text = f"{taken_us:.1f} us measured, {memory_us:.1f} us to move its bytes"
        if taken_us < MARGIN * memory_us:
            return Failed("light", Reason.IMPOSSIBLE, text)
        if taken_us < MARGIN * compute_us:
            return f"{text} (modelled); it cannot compute all that the reference writes down"
        return f"{text}, {compute_us:.1f} us to compute (modelled)"


def _bounds_us(job: Job, known: Calibration) -> tuple[float, float]:
    """Time to move the bytes that any kernel must, and to compute what the reference does."""
    instance = job.cases.instance
    cost = graph_cost(flat_graph(instance.model, instance.inputs).graph.nodes)
    fastest = max(row.ceiling.value for row in (*known.copy, *known.read))
    return 1e6 * cost.bytes_fused / fastest, 1e6 * cost.flops / known.fma.value


STAGE = SpeedOfLight()
