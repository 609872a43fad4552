"""Views of what a run for a GPU that is not there has found: evidence, and no times."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from kernelite.results import wording
from kernelite.results.evidence import Compiled
from kernelite.results.fold import Attempt, Run
from kernelite.results.wording import UNKNOWN

SPEED_UNKNOWN = "speed unknown"
COLUMNS = ("site", "no.", "kernel", "what", "emulated,\nsmall sizes", "registers", "spilled",
           "shared", "launches", "moved\nmodelled", "occupancy\nmodelled", "speed")  # fmt: skip
WORDS = COLUMNS[0:1] + COLUMNS[2:5]


def shortlists(run: Run, made: Table) -> Table:
    """Fill an empty table with the kernels of each site, in the order in which to time them."""
    for column in COLUMNS:
        justify: Any = "left" if column in WORDS else "right"
        made.add_column(column, justify=justify, overflow="fold")
    for result in (site for site in run.sites if site.decision):
        if not result.shortlist:
            reason = getattr(result.decision, "reason", "")
            made.add_row(wording.visible(result.site.site), "", "none", wording.visible(reason))
        for number, attempt in enumerate(result.shortlist, start=1):
            site = "" if number > 1 else wording.visible(result.site.site)
            made.add_row(site, str(number), *_row(attempt))
    return made


def _row(attempt: Attempt) -> tuple[str, ...]:
    made, found = attempt.candidate, attempt.compiled or Compiled("", "")
    choices = ", ".join(f"{name} {value}" for name, value in made.choices.items())
    return (
        wording.visible(f"{made.proposer} {made.id[:8]}"),
        wording.visible(f"{made.label} {choices}".strip()), _emulated(attempt),
        _count(found.registers), _count(found.spilled_bytes, " B"),
        _count(found.shared_bytes, " B"), _count(found.launches),
        f"{wording.count(found.moved_bytes)}B", wording.share(found.occupancy), UNKNOWN,
    )  # fmt: skip


def _emulated(attempt: Attempt) -> str:
    """Whether it is right, as far as an interpreter can tell at small sizes."""
    verdict = attempt.verdict
    return UNKNOWN if verdict is None else "right" if verdict.passed else "wrong"


def _count(value: int | None, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value}{unit}"


def document(attempt: Attempt) -> dict[str, Any]:
    """One kernel of a shortlist as JSON values."""
    made, verdict, found = attempt.candidate, attempt.verdict, attempt.compiled
    names = ("arch", "triton", "trouble", "registers", "spilled_bytes", "shared_bytes",
             "occupancy", "launches", "intermediate_bytes", "moved_bytes")  # fmt: skip
    return {
        "id": made.id, "proposer": made.proposer, "backend": made.backend, "label": made.label,
        "choices": dict(made.choices), "verdict": verdict and verdict.verdict,
        "kind": verdict and verdict.kind, "speedup": None,
        "evidence": {name: getattr(found, name) for name in names} if found else None,
    }  # fmt: skip


def told(found: Compiled) -> str:
    """The evidence in one line."""
    if found.trouble:
        return f"{found.trouble_kind}: {found.trouble}"
    return (f"{_count(found.registers)} registers, {_count(found.spilled_bytes, ' B')} spilled,"
            f" {_count(found.launches)} launched, {wording.count(found.moved_bytes)}B moved,"
            f" occupancy {wording.share(found.occupancy)}")  # fmt: skip
