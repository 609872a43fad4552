"""What compilers and models say of a candidate for a GPU that is not there, as one record."""

from __future__ import annotations

from collections.abc import Sequence

from kernelite.harness.crosscompile import Report
from kernelite.kernels.targets.records import Configuration
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.results.evidence import Compiled
from kernelite.results.log import EventLog

#: By candidate and problem.
Evidence = dict[tuple[str, str], Compiled]


def known_evidence(log: EventLog, target: str) -> Evidence:
    """What the log holds already for the GPU of this name."""
    found = (e.body for e in log.events("compiled") if isinstance(e.body, Compiled))
    return {(c.candidate, c.problem): c for c in found if c.target == target}


def least_bytes(problem: Problem) -> int | None:
    """What any kernel for the problem must move; None if the work cannot be counted."""
    instance = instantiate(problem, 0)
    try:
        graph = flat_graph(instance.model, instance.inputs)
    except NotTraceable:
        return None
    return graph_cost(graph.graph.nodes).bytes_fused


def as_evidence(candidate: str, problem: str, report: Report, least: int | None) -> Compiled:
    """What a report on one target comes to.

    Of a kernel that is tuned the configuration with fewest spills counts, and of several kernels
    the worst in each respect.

    Args:
        candidate: Its id, as ``problem`` is.
        problem: See above.
        report: On one target.
        least: Bytes that any kernel must move; None if unknown.
    """
    (one,) = report.targets
    used = _used(one.compiled.configurations)
    refused = [c.trouble for c in one.compiled.configurations if c.trouble] if not used else []
    trouble = one.compiled.trouble or next(iter(refused), None)
    rooms = [one.occupancy(configuration) for configuration in used]
    fractions = [room.fraction for room in rooms if room]
    beside = one.compiled.intermediate_bytes
    return Compiled(
        candidate, problem, one.target.gpu.name, one.target.arch, report.triton,
        str(trouble) if trouble else None, str(trouble.kind) if trouble else None,
        registers=_most([c.binary.registers for c in used]),
        spilled_bytes=_total([_spilled(c) for c in used]),
        shared_bytes=_most([c.shared_bytes for c in used]),
        occupancy=min(fractions) if fractions and len(fractions) == len(used) else None,
        launches=one.compiled.launches, intermediate_bytes=beside,
        moved_bytes=None if beside is None or least is None else least + 2 * beside,
    )  # fmt: skip


def _used(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Of each kernel that the target can run, the configuration with fewest spills."""
    found: dict[str, Configuration] = {}
    for one in configurations:
        known = found.get(one.kernel)
        if one.trouble is None and (known is None or (_spilled(one) or 0) < (_spilled(known) or 0)):
            found[one.kernel] = one
    return list(found.values())


def _spilled(one: Configuration) -> int | None:
    """Stored and loaded, as far as the compiler tells."""
    stores, loads = one.binary.spill_store_bytes, one.binary.spill_load_bytes
    return None if stores is None else stores + (loads or 0)


def _most(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
