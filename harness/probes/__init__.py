"""Questions about behaviour over several calls; each answers with evidence or a failure."""

from collections.abc import Callable

from kernelite.harness.job import Job
from kernelite.harness.probes import arguments, freshness, instances, residue, streams
from kernelite.harness.verdict import Failed

PROBES: tuple[Callable[[Job], str | Failed], ...] = (
    arguments.probe, freshness.probe, instances.probe, streams.probe,
    residue.probe,
)  # fmt: skip
