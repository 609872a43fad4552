"""Is the time one that the machine can reach at all?"""

from __future__ import annotations

from dataclasses import dataclass

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason, Skipped
from kernelite.kernels.devices import calibrate, cpu, gpu_ceilings
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import NotTraceable, flat_graph

MARGIN = 0.95
GPU_CACHE_BYTES = 128 << 20  # above any level 2 of the tables: its speed is in no ceiling


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
        known = _known(job)
        if known is None:
            kind = job.judge.placement.kind
            command = "kernelite calibrate" + (f" --device {kind}" if kind != "cpu" else "")
            return Skipped(f"this machine's ceilings are unknown; measure them: {command}")
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


@dataclass(frozen=True, slots=True)
class _Ceilings:
    """Bytes and operations per second, and bytes that a cache may have served instead."""

    bandwidth: float
    peak: float
    cached_bytes: int = 0


def _known(job: Job) -> _Ceilings | None:
    if job.judge.placement.accelerator:
        gpu = gpu_ceilings.known(job.judge.placement.model)
        if gpu is None:
            return None
        peak = max(ceiling.value for ceiling in gpu.products.values())
        return _Ceilings(gpu.copy.value, peak, GPU_CACHE_BYTES)
    cores = calibrate.known(cpu.detect(job.judge.threads))
    if cores is None:
        return None
    fastest = max(row.ceiling.value for row in (*cores.copy, *cores.read))
    return _Ceilings(fastest, cores.fma.value)


def _bounds_us(job: Job, known: _Ceilings) -> tuple[float, float]:
    """Time to move the bytes that any kernel must, and to compute what the reference does."""
    instance = job.cases.instance
    cost = graph_cost(flat_graph(instance.model, instance.inputs).graph.nodes)
    moved_bytes = max(0, cost.bytes_fused - known.cached_bytes)
    return 1e6 * moved_bytes / known.bandwidth, 1e6 * cost.flops / known.peak


STAGE = SpeedOfLight()
