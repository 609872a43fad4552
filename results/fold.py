"""What a run amounts to: a pure fold over its events, whole or cut off anywhere.

The log is the truth and this is a view of it: no clock, no disk, no device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kernelite.results import records
from kernelite.results.events import Event, Unreadable
from kernelite.results.evidence import Compiled, Shortlisted
from kernelite.results.whole_model import Verified

Decision = records.Winner | records.KeptLibrary | records.NoWinner | Shortlisted


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate for one problem, with the verdicts on it, oldest first.

    Attributes:
        compiled: What is known of it on a GPU that was not there; None if that was not asked.
    """

    candidate: records.Candidate
    verdicts: tuple[records.Verdict, ...] = ()
    compiled: Compiled | None = None

    @property
    def verdict(self) -> records.Verdict | None:
        """The newest verdict; None if it has not been judged."""
        return self.verdicts[-1] if self.verdicts else None

    @property
    def timing(self) -> records.TimingResult | None:
        """The newest verdict's timing; a wrong kernel has none."""
        return self.verdict.timing if self.verdict and self.verdict.passed else None

    @property
    def speed(self) -> float:
        """Median speed-up against the best baseline, for sorting; 0 if unknown."""
        return (self.timing and self.timing.median) or 0.0


@dataclass(frozen=True, slots=True)
class SiteResult:
    """A site with everything that happened there.

    Attributes:
        decision: None while the search goes on, or where there was none.
        dropped: Why its kernel was taken out again; None if it was not.
    """

    site: records.RankedSite
    captured: records.Captured | None = None
    attempts: tuple[Attempt, ...] = ()
    tuned: tuple[records.Tuned, ...] = ()
    decision: Decision | None = None
    patched: bool = False
    dropped: str | None = None

    @property
    def problem(self) -> str | None:
        """Id of what is computed here; None if no event says."""
        captured = self.captured.problem if self.captured else None
        tried = self.attempts[0].candidate.problem if self.attempts else None
        return self.site.problem or captured or tried

    @property
    def winner(self) -> records.Winner | None:
        """The winner, if the search found one and the model kept it."""
        won = isinstance(self.decision, records.Winner) and self.dropped is None
        return self.decision if won else None  # type: ignore[return-value]

    @property
    def shortlist(self) -> tuple[Attempt, ...]:
        """What waits to be timed on a GPU that was not there, best evidence first."""
        waiting = self.decision.candidates if isinstance(self.decision, Shortlisted) else ()
        known = {attempt.candidate.id: attempt for attempt in self.attempts}
        return tuple(known[name] for name in waiting if name in known)

    @property
    def winning_attempt(self) -> Attempt | None:
        """The attempt behind the winner, with its source."""
        won = self.winner and self.winner.candidate
        return next((a for a in self.attempts if a.candidate.id == won), None)

    @property
    def failures(self) -> Counter[str]:
        """How many candidates each stage turned down."""
        judged = [a.verdict for a in self.attempts if a.verdict and not a.verdict.passed]
        return Counter(verdict.stage or "unknown" for verdict in judged)


@dataclass(frozen=True, slots=True)
class Run:
    """One `optimize` run as far as its log goes.

    Attributes:
        started: An empty one if the log lacks it.
        sites: As ranked, then those that only later events name.
        unreadable: Events of a known kind that could not be read.
        kind: Of the ranking's shares, ``measured`` or ``modelled``.
        last: Kind of the last event; None if there is none.
        last_ts: Its time, seconds since the epoch, UTC.
    """

    started: records.RunStarted = field(default_factory=lambda: records.RunStarted(""))
    profile: records.Profiled | None = None
    sites: tuple[SiteResult, ...] = ()
    model_attainable: float | None = None
    kind: str = "measured"
    verified: Verified | None = None
    fallbacks: tuple[records.Fallback, ...] = ()
    finished: records.RunFinished | None = None
    unreadable: tuple[Unreadable, ...] = ()
    last: str | None = None
    last_ts: float | None = None

    @property
    def device(self) -> str:
        """The device's name, ``unknown`` if the log does not say."""
        return str(self.started.device.get("name") or "unknown")

    @property
    def absent(self) -> bool:
        """Whether the device was not there: nothing ran on it, and no speed is known."""
        return bool(self.started.device.get("absent"))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every candidate of every site."""
        return tuple(attempt for site in self.sites for attempt in site.attempts)


#: By site, then by problem and candidate.
Attempts = dict[str, dict[tuple[str, str], Attempt]]


def fold(events: Iterable[Event]) -> Run:
    """The run that these events, in order, describe."""
    run, sites, attempts = Run(), dict[str, SiteResult](), Attempts()
    for event in events:
        run = replace(run, last=event.kind, last_ts=event.ts)
        match event.body:
            case records.RunStarted() as started:
                run = replace(run, started=started, finished=None)
            case records.Profiled() as profile:
                run = replace(run, profile=profile)
            case records.Ranked() as ranked:
                run = replace(run, model_attainable=ranked.model_attainable, kind=ranked.kind)
                sites = _ranked(ranked, sites)
            case Verified() as verified:
                run = replace(run, verified=verified)
                dropped = dict(verified.dropped)
                sites = {n: replace(s, dropped=dropped.get(n)) for n, s in sites.items()}
            case records.Fallback() as fallback if fallback not in run.fallbacks:
                run = replace(run, fallbacks=(*run.fallbacks, fallback))
            case records.RunFinished() as finished:
                run = replace(run, finished=finished)
            case Unreadable() as unreadable:
                run = replace(run, unreadable=(*run.unreadable, unreadable))
            case records.Candidate() | records.Evaluated() | Compiled() as body:
                _attempt(body, sites, attempts)
            case body:
                _at_site(body, sites)
    for name in attempts:
        sites[name] = replace(_of(sites, name), attempts=tuple(attempts[name].values()))
    return replace(run, sites=tuple(sites.values()))


def _ranked(ranked: records.Ranked, sites: Mapping[str, SiteResult]) -> dict[str, SiteResult]:
    """The new ranking's order, with what is already known of its sites."""
    known = {s.site: replace(_of(sites, s.site), site=s) for s in ranked.sites}
    return known | {name: site for name, site in sites.items() if name not in known}


def _of(sites: Mapping[str, SiteResult], name: str) -> SiteResult:
    return sites.get(name) or SiteResult(records.RankedSite(name, path=name))


def _at_site(body: object, sites: dict[str, SiteResult]) -> None:
    """Add an event that concerns single sites."""
    match body:
        case records.Captured(site=name):
            sites[name] = replace(_of(sites, name), captured=body)
        case records.Tuned(site=name):
            site = _of(sites, name)
            sites[name] = replace(site, tuned=(*site.tuned, body))
        case records.Winner() | records.KeptLibrary() | records.NoWinner() | Shortlisted():
            sites[body.site] = replace(_of(sites, body.site), decision=body)
        case records.Patched(sites=names):
            sites |= {name: replace(_of(sites, name), patched=True) for name in names}


def _attempt(
    body: records.Candidate | records.Evaluated | Compiled,
    sites: Mapping[str, SiteResult],
    attempts: Attempts,
) -> None:
    """Add a candidate, or what is told of one, to the site that named it, or to its problem's."""
    if isinstance(body, records.Candidate):
        fresh = body
    else:
        fresh = records.Candidate(body.candidate, body.problem)
    key = (fresh.problem, fresh.id)
    owner = next((name for name, known in attempts.items() if key in known), None)
    if owner is None:
        asked = (n for n, s in sites.items() if s.site.problem == body.problem)
        owner = fresh.site or next(asked, body.problem)
    here = attempts.setdefault(owner, {})
    old = here.get(key, Attempt(fresh))
    match body:
        case records.Candidate():
            here[key] = replace(old, candidate=body)
        case records.Evaluated(verdict=verdict):
            here[key] = replace(old, verdicts=(*old.verdicts, verdict))
        case Compiled():
            here[key] = replace(old, compiled=body)
