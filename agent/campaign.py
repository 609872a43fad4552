"""One `optimize` run, from a target to a report.

profile → rank → capture → search → judge → patch → verify → report.  Every
outcome is an event in the run's log before anything depends on it, so a
killed run goes on where it was: finished stages are read, not repeated.
"""

from __future__ import annotations

import ctypes
import fnmatch
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kernelite import __version__
from kernelite.agent import survey, whole_model
from kernelite.agent.search import CONFIRM_S, Budget, Say, SiteSearch
from kernelite.agent.survey import Survey
from kernelite.errors import MachineError, UsageError
from kernelite.harness import cage, processors
from kernelite.harness.judge import Judge
from kernelite.harness.remote import COMPILER, Server
from kernelite.kernels.backends import backend
from kernelite.kernels.devices import Calibration, Roofline
from kernelite.kernels.devices.calibrate import as_json, load_or_measure
from kernelite.kernels.templates import Choices
from kernelite.problems import capture
from kernelite.problems import target as targets
from kernelite.problems.problem import Problem
from kernelite.problems.target import Target
from kernelite.results import records, report
from kernelite.results.log import EventLog

SHORTEST_TURN_S = 1.0
FEWEST_EVALUATIONS = 6  # per site


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for.

    Attributes:
        device: ``cpu``.
        backend: A backend's name, or ``all``.
        budget_seconds: Time for the search; profiling and verification come on top.
        max_candidates: Evaluations at most.
        sites: Patterns; a site is searched if its name or label fits one. Empty: all.
        require_isolation: Least level of the cage to run candidates at.
    """

    target: str
    out: Path
    device: str = "cpu"
    backend: str = "all"
    budget_seconds: float = 60.0
    max_candidates: int = 400
    sites: tuple[str, ...] = ()
    seed: int = 0
    dry_run: bool = False
    resume: bool = False
    require_isolation: int = 0


def run(options: Options, say: Say) -> Path:
    """Carry out the campaign; the folder then holds log, problems and report.

    Raises:
        UsageError: target, device, backend or folder cannot be used.
        MachineError: compiler, disk or a dependency failed.
    """
    _check(options)
    target = targets.load(options.target, options.seed)
    with EventLog(options.out) as log:
        Campaign(options, target, log, say).run()
    return options.out


class Campaign:
    """The state of one run."""

    def __init__(self, options: Options, target: Target, log: EventLog, say: Say) -> None:
        self.options, self.target, self.log, self.say = options, target, log, say
        self.started = time.monotonic()

    def run(self) -> None:
        """All stages; those that the log already holds are skipped."""
        self.say("profile", f"calibrating and profiling {self.options.target}")
        calibration = load_or_measure()
        self._start(calibration)
        found = self._known_survey() or self._survey(calibration)
        chosen = self._chosen(found)
        if not self.options.dry_run:
            winners = self._search(found, chosen, calibration)
            self._verify(winners, found)
        finished = records.RunFinished(seconds=time.monotonic() - self.started)
        self.log.append("run_finished", finished)
        self.say("report", str(report.write(self.options.out)))

    def _start(self, calibration: Calibration) -> None:
        described = as_json(calibration)
        versions = {"kernelite": __version__, "torch": torch.__version__,
                    "python": platform.python_version()}  # fmt: skip
        options = {**asdict(self.options), "out": str(self.options.out)}
        device = {"name": calibration.device.name, **described}
        body = records.RunStarted(
            run=self.options.out.name, target=self.options.target, device=device,
            options=options, versions=versions,
        )  # fmt: skip
        self.log.append("run_started", body, uid="run_started")

    def _known_survey(self) -> Survey | None:
        """What an earlier attempt at this run found out."""
        ranked = [event.body for event in self.log.events("ranked")]
        if not ranked or not isinstance(ranked[-1], records.Ranked):
            return None
        problems = {
            event.body.site: Problem(Path(event.body.file).stem, event.body.source)
            for event in self.log.events("captured")
            if isinstance(event.body, records.Captured)
        }
        self.say("rank", f"resumed: {len(problems)} problems known from the log")
        return Survey(problems, ranked[-1])

    def _survey(self, calibration: Calibration) -> Survey:
        event, profile = survey.profiled(self.target)
        self.log.append("profiled", event, uid="profiled")
        self.say("profile", f"eager takes {profile.wall_us / 1e3:.1f} ms")
        hosts, notes = capture.hosts(self.target)
        for note in notes:
            self.log.append("fallback", records.Fallback(reason=note), uid=f"fallback {note}")
            self.say("capture", note)
        if not hosts:
            raise UsageError(f"{self.options.target}: nothing in it can be traced; {notes[-1]}")
        sites = capture.sites(self.target.model, hosts)
        self._write_problems(sites)
        exact = sum(site.reproduced for site in sites)
        self.say("capture", f"{len(sites)} problems, {exact} reproduced bit for bit")
        ranked = survey.ranked(self.target, hosts, sites, profile.wall_us, Roofline(calibration))
        self.log.append("ranked", ranked, uid="ranked")
        self.say(
            "rank", f"attainable for the whole model: {ranked.model_attainable:.2f}x (modelled)"
        )
        return Survey({site.name: site.problem for site in sites}, ranked)

    def _write_problems(self, sites: Sequence[capture.Site]) -> None:
        folder = self.options.out / "problems"
        folder.mkdir(exist_ok=True)
        for site in sites:
            event = survey.captured(site)
            (folder / event.file).write_text(event.source)
            self.log.append("captured", event, uid=f"captured {site.name}")

    def _chosen(self, found: Survey) -> list[records.RankedSite]:
        """Sites to search, best first."""
        worth = [s for s in found.ranking.sites if s.gain and s.attainable and s.attainable > 1]
        patterns = self.options.sites
        if not patterns:
            return [s for s in worth if not s.verdict.startswith(("nothing", "too small"))]
        fitting = [
            s for s in found.ranking.sites
            if any(fnmatch.fnmatch(text, p) for p in patterns for text in (s.site, s.label))
        ]  # fmt: skip
        if not fitting:
            known = ", ".join(s.site for s in found.ranking.sites)
            raise UsageError(f"no site fits {', '.join(patterns)}; there are: {known}")
        return fitting

    def _search(
        self, found: Survey, chosen: Sequence[records.RankedSite], calibration: Calibration
    ) -> list[records.Winner]:
        """Search the sites in turn, each with its part of what is left."""
        known = self._known_verdicts()
        decided = {getattr(e.body, "site", ""): e.body for e in self.log.events()
                   if e.kind in ("winner", "no_winner")}  # fmt: skip
        winners = [w for w in decided.values() if isinstance(w, records.Winner)]
        todo = [site for site in chosen if site.site not in decided]
        if not todo:
            return winners
        deadline = time.monotonic() + self.options.budget_seconds
        evaluations = self.options.max_candidates - len(known)
        learnt: dict[str, Choices] = {}
        server, compiler = Server(), Server(COMPILER)
        try:
            for index, site in enumerate(todo):
                left = sum(s.gain or 0.0 for s in todo[index:]) or 1.0
                part = (site.gain or 0.0) / left
                now = time.monotonic()
                turn = (deadline - now) * part
                until = now + max(turn - CONFIRM_S, SHORTEST_TURN_S)
                own = max(FEWEST_EVALUATIONS, math.ceil(evaluations * part))
                budget = Budget(until, max(0, min(evaluations, own)))
                evaluations -= budget.evaluations
                problem = found.problems[site.site]
                threads = calibration.device.threads
                with Judge(problem, server, threads, compiler) as judge:
                    search = SiteSearch(
                        site.site, problem, judge, self.log, self.say, calibration.device.name,
                        self.options.backend, self.options.seed, known, learnt,
                    )  # fmt: skip
                    if (winner := search.run(budget)) is not None:
                        winners.append(winner)
                evaluations += budget.evaluations
                del search, judge
                _return_freed_memory()
        finally:
            server.close()
            compiler.close()
        return winners

    def _known_verdicts(self) -> dict[tuple[str, str], records.Verdict]:
        return {
            (event.uid, event.body.problem): event.body.verdict
            for event in self.log.events("evaluated")
            if isinstance(event.body, records.Evaluated)
        }

    def _verify(self, winners: Sequence[records.Winner], found: Survey) -> None:
        if any(True for _ in self.log.events("verified")):
            return
        self.say("verify", f"putting {len(winners)} winners into the model")
        result = whole_model.in_child(self.options.out)
        for reason in result["fallbacks"]:
            self.log.append("fallback", records.Fallback(reason=reason), uid=f"fallback {reason}")
        self.log.append("patched", {"sites": result["patched"]}, uid="patched")
        self.say("patch", f"{len(result['patched'])} sites patched")
        body: dict[str, Any] = {**result["verified"], "attainable": found.ranking.model_attainable}
        self.log.append("verified", body, uid="verified")
        self.say("verify", result["text"])


def _return_freed_memory() -> None:
    """Give what one site's cases held back to the system; glibc alone does so, and late."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _check(options: Options) -> None:
    """Refuse what cannot work before anything is written."""
    if (device := processors.require(options.device)) != "cpu":
        raise UsageError(
            f"optimize searches kernels for the CPU only so far, not for {device};"
            f" try --device cpu, or judge a kernel of yours: kernelite check --device {device}"
        )
    chosen = backend("cpp" if options.backend == "all" else options.backend)
    if (missing := chosen.missing()) is not None:
        raise MachineError(missing)
    cage.require(options.require_isolation)
    log = options.out / "events.sqlite"
    if options.resume and not log.exists():
        raise UsageError(f"nothing to resume in {options.out}; leave --resume out")
    if not options.resume and log.exists():
        raise UsageError(
            f"{options.out} already holds a run; add --resume to go on with it,"
            " or give another folder: --out FOLDER"
        )
    if not os.access(Path(options.target.partition(":")[0]), os.R_OK):
        raise UsageError(f"no file {options.target.partition(':')[0]!r}; {targets.FORMS}")
