"""Is the time one that the machine can reach at all?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason, Skipped
from kernelite.kernels.devices import Calibration, calibrate, cpu
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import NotTraceable, flat_graph

MARGIN = 0.95
#: Causal masks and symmetric products need half of what the plain algorithm computes.
NEEDED_FLOPS = 0.5


class SpeedOfLight:
    """Compulsory bytes at the best measured bandwidth, and operations at the measured peak."""

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
            bound_us = _bound_us(job, known)
        except NotTraceable as why:
            return Skipped(f"the work cannot be counted: {why}")
        taken_us = job.timing.worst.candidate_us
        text = f"{taken_us:.1f} us measured, {bound_us:.1f} us at the machine's ceilings"
        if taken_us < MARGIN * bound_us:
            return Failed("light", Reason.IMPOSSIBLE, text)
        return f"{text} (modelled): {bound_us / taken_us:.0%}"


def _bound_us(job: Job, known: Calibration) -> float:
    instance = job.cases.instance
    cost = graph_cost(flat_graph(instance.model, instance.inputs).graph.nodes)
    fastest = max(row.ceiling.value for row in (*known.copy, *known.read))
    return 1e6 * max(cost.bytes_fused / fastest, NEEDED_FLOPS * cost.flops / known.fma.value)


STAGE = SpeedOfLight()
