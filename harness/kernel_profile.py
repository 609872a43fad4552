"""What a kernel does to the GPU: a record that describes a winner, for whoever improves it next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kernelite.harness import counters, watching
from kernelite.harness.job import Job
from kernelite.harness.remote import Lost
from kernelite.problems.problem import flat_tensors

TOLD_BY_NOBODY = "CUPTI tells of no launch here"


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel, launched in one way.

    Attributes:
        count: By call; a fraction if calls differ.
        us: Mean of one launch, without what lies between launches.
        registers: Of a thread.
        shared_bytes: Of a block.
    """

    kernel: str
    count: float
    us: float
    grid: tuple[int, int, int] | None = None
    block: tuple[int, int, int] | None = None
    registers: int | None = None
    shared_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What was told by the process that ran the kernel, and by the tool that watched it.

    Attributes:
        launches: Longest first.
        no_launches: Why there are none; empty if there are.
        counters: By launch, as Nsight Compute names them (`harness.counters`).
        no_counters: Why there are none; empty if there are.
    """

    launches: tuple[Launch, ...]
    no_launches: str
    counters: tuple[Mapping[str, Any], ...] = ()
    no_counters: str = ""
    kind: str = "measured"

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def profile(job: Job, counted: bool = True) -> Profile:
    """The launches of one call, and what Nsight Compute counts, if that is wanted and allowed."""
    launches, no_launches = _launches(job)
    if not counted:
        return Profile(launches, no_launches, no_counters="not asked for")
    found = _counters(job)
    if isinstance(found, str):
        return Profile(launches, no_launches, no_counters=found)
    return Profile(launches, no_launches, tuple(counters.shares(found)))


def _launches(job: Job) -> tuple[tuple[Launch, ...], str]:
    try:
        answer, _ = job.runner.ask({"do": "profile"}, flat_tensors(job.cases.instance.inputs))
        found = TypeAdapter(tuple[Launch, ...]).validate_python(answer.get("launches"))
    except (Lost, ValidationError) as error:
        return (), str(error)
    return found, "" if found else TOLD_BY_NOBODY


def _counters(job: Job) -> Sequence[counters.Counted] | str:
    if not job.judge.placement.accelerator:
        return "it runs on no GPU"
    if (tool := counters.path()) is None:
        return f"no {counters.NAME} here; it comes with the CUDA toolkit"
    try:
        text, _ = watching.told(job, counters.command(tool))
    except Lost as lost:
        return str(lost)
    return counters.parsed(text)
