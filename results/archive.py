"""What was found, over all runs under a folder: by problem and device, or by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelite.errors import KerneliteError, UsageError
from kernelite.results import log
from kernelite.results.fold import Attempt, Run, SiteResult, fold

#: As many ids as a message can list and still be read.
LISTED = 12


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run's folder and what its log says; ``broken`` is why it cannot be read."""

    folder: Path
    run: Run
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One problem on one device in one run.

    Attributes:
        best: The winner, else the fastest right candidate; None if nothing was right.
        won: Whether ``best`` is in the patched model.
    """

    stored: StoredRun
    problem: str
    result: SiteResult
    best: Attempt | None
    won: bool


@dataclass(frozen=True, slots=True)
class FoundCandidate:
    """A candidate by its id: each run's attempt, and its ancestors, parent first."""

    id: str
    attempts: tuple[tuple[StoredRun, Attempt], ...]
    lineage: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class FoundProblem:
    """A problem by its id, with each run that searched it."""

    id: str
    entries: tuple[Entry, ...]


def stored_runs(folder: Path) -> list[StoredRun]:
    """Every run at or below ``folder``, by name; a broken one says why.

    Raises:
        UsageError: no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UsageError(
            f"no folder {folder}; give the one that holds your runs: kernelite archive list FOLDER"
        )
    found = sorted(path.parent for path in folder.rglob(log.LOG_NAME))
    if not found:
        raise UsageError(f"no run under {folder}; make one: kernelite optimize TARGET")
    return [_stored(path) for path in found]


def _stored(folder: Path) -> StoredRun:
    try:
        return StoredRun(folder, fold(log.read(folder)))
    except KerneliteError as error:
        return StoredRun(folder, Run(), str(error))


def entries(runs: Iterable[StoredRun]) -> list[Entry]:
    """One per searched problem and run, by problem, device and run."""
    found = [
        _entry(stored, result)
        for stored in runs
        for result in stored.run.sites
        if result.attempts or result.decision
    ]
    return sorted(found, key=lambda e: (e.problem, e.stored.run.device, str(e.stored.folder)))


def _entry(stored: StoredRun, result: SiteResult) -> Entry:
    winning = result.winning_attempt
    right = [a for a in result.attempts if a.verdict and a.verdict.passed]
    best = winning or max(right, key=lambda a: a.speed, default=None)
    return Entry(stored, result.problem or result.site.site, result, best, winning is not None)


def find(runs: Sequence[StoredRun], prefix: str) -> FoundCandidate | FoundProblem:
    """The candidate or problem whose id begins with ``prefix``.

    Raises:
        UsageError: none or several do; the message lists what there is.
    """
    attempts = [(stored, attempt) for stored in runs for attempt in stored.run.attempts]
    problems = entries(runs)
    candidate_ids = {attempt.candidate.id for _, attempt in attempts}
    ids = sorted(candidate_ids | {entry.problem for entry in problems})
    hits = [prefix] if prefix in ids else [i for i in ids if prefix and i.startswith(prefix)]
    if len(hits) != 1:
        raise UsageError(_no_single(prefix, hits, ids))
    if hits[0] not in candidate_ids:
        return FoundProblem(hits[0], tuple(e for e in problems if e.problem == hits[0]))
    own = tuple((s, a) for s, a in attempts if a.candidate.id == hits[0])
    return FoundCandidate(hits[0], own, _lineage(own[-1][1], own[-1][0].run))


def _no_single(prefix: str, hits: Sequence[str], ids: Sequence[str]) -> str:
    listed = ", ".join((hits or ids)[:LISTED]) or "none"
    more = f" and {len(hits or ids) - LISTED} more" if len(hits or ids) > LISTED else ""
    if hits:
        return f"{prefix!r} is ambiguous: {listed}{more}; type more of the id"
    return f"no candidate or problem {prefix!r}; there are: {listed}{more}"


def _lineage(attempt: Attempt, run: Run) -> tuple[Attempt, ...]:
    by_id = {a.candidate.id: a for a in run.attempts}
    line: list[Attempt] = []
    parent = by_id.get(attempt.candidate.parent or "")
    while parent and parent not in line:
        line.append(parent)
        parent = by_id.get(parent.candidate.parent or "")
    return tuple(line)
