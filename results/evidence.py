"""What an `optimize --target` run writes down of a GPU that is not there: facts, and no times.

Compilers tell registers, spills and shared memory of the very binaries.  Occupancy and the bytes
that move are modelled.  None of it is a speed, so what it orders is what to time first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Compiled:
    """A candidate for one problem, compiled for one target; None is unknown.

    Attributes:
        target: The GPU's name, and arch what it was compiled for.
        trouble: Why there is no binary, or none that the target could run.
        trouble_kind: As `kernels.targets.records.Kind` has it.
        registers: Of a thread, of the kernel that needs most.
        spilled_bytes: Of a thread, stored and loaded, of all kernels.
        shared_bytes: Of a block, of the kernel that needs most.
        occupancy: Of the kernel with the lowest, 0 to 1; modelled.
        launches: Kernels in one call.
        intermediate_bytes: That one call allocates for what it does not return.
        moved_bytes: What any kernel must move, and those twice; modelled.
    """

    candidate: str
    problem: str
    target: str = ""
    arch: str = ""
    triton: str = ""
    trouble: str | None = None
    trouble_kind: str | None = None
    registers: int | None = None
    spilled_bytes: int | None = None
    shared_bytes: int | None = None
    occupancy: float | None = None
    launches: int | None = None
    intermediate_bytes: int | None = None
    moved_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Shortlisted:
    """How a site was left where the target is missing.

    Attributes:
        candidates: Ids of those that are right under emulation, in the order of `order`.
        reason: Why there is none; empty if there are.
    """

    site: str
    problem: str = ""
    target: str = ""
    candidates: tuple[str, ...] = ()
    reason: str = ""


def order(found: Compiled) -> tuple[float, ...]:
    """What sorts candidates; the first difference decides, less is better, unknown comes last.

    Does it compile; how much does it spill; how many bytes move; in how many launches; and, if
    all that is equal, how many warps are resident.
    """
    unfilled = inf if found.occupancy is None else -found.occupancy
    return (
        found.trouble is not None, _known(found.spilled_bytes), _known(found.moved_bytes),
        _known(found.launches), unfilled,
    )  # fmt: skip


def _known(value: int | None) -> float:
    return inf if value is None else value
