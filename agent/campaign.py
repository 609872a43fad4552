"""One `optimize` run, from a target to a report.

profile → rank → capture → search → judge → patch → verify → report.  Every
outcome is an event in the run's log before anything depends on it, so a
killed run goes on where it was: finished stages are read, not repeated.
"""

from __future__ import annotations

import fnmatch
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from kernelite import __version__
from kernelite.agent import kept, survey
from kernelite.agent.llm import choice, keys, thinking
from kernelite.agent.places import Place
from kernelite.agent.places.absent import Absent
from kernelite.agent.places.cpu import Cpu
from kernelite.agent.places.cuda import Cuda
from kernelite.agent.search import Budget, Say, Think
from kernelite.agent.survey import Survey
from kernelite.errors import MachineError, UsageError
from kernelite.harness import cage, processors
from kernelite.kernels.backends import backend
from kernelite.kernels.devices.published import Published
from kernelite.kernels.targets import check_version, find
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
        device: ``cpu``, or the full name of a GPU, such as ``cuda:0``.
        gpu: One of the tables that is not here: kernels are emulated and compiled for it.
        backend: A backend's name, or ``all``.
        budget_seconds: Time for the search; profiling and verification come on top.
        max_candidates: Evaluations at most.
        sites: Patterns; a site is searched if its name or label fits one. Empty: all.
        require_isolation: Least level of the cage to run candidates at.
        llm: Language models to ask, their budget and their price: `agent.llm.choice`.
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
    gpu: str = ""
    llm: str = "none"
    llm_budget: str = ""
    llm_price: str = ""


def run(options: Options, say: Say) -> Path:
    """Carry out the campaign; the folder then holds log, problems and report.

    Raises:
        UsageError: target, device, backend or folder cannot be used.
        MachineError: compiler, disk or a dependency failed.
    """
    if options.gpu and not options.resume:
        _check_absent(options)
    options = replace(options, device=processors.require(options.device))
    _check(options)
    chosen = choice.choose(
        options.llm, options.llm_budget, options.llm_price, options.backend, os.environ
    )
    keys.forget(os.environ)  # the model is verified in a process that loads kernels
    target = targets.load(options.target, options.seed)
    with EventLog(options.out) as log, thinking.opened(chosen, options.seed, log, say) as think:
        kept.keep_model(options.out, options.target)
        place = _place(options, target, say, think)
        Campaign(options, target if target.weightless else target.on("cpu"), place, log, say).run()
    return options.out


def _place(options: Options, target: Target, say: Say, think: Think | None) -> Place:
    """Where this run's kernels are judged."""
    if options.gpu and options.device == "cpu":
        return Absent(find(options.gpu))
    if target.weightless:
        raise UsageError(
            f"{options.target} is without its weights, so it cannot run here;"
            " model it for a GPU of the tables instead, such as --target h200"
        )
    if options.device != "cpu":
        return Cuda(options.device, options.require_isolation)
    say("profile", "calibrating this machine")
    return Cpu(think)


class Campaign:
    """The state of one run."""

    def __init__(
        self, options: Options, target: Target, place: Place, log: EventLog, say: Say
    ) -> None:  # fmt: skip
        self.options, self.target, self.place, self.log, self.say = (
            options, target, place, log, say,
        )  # fmt: skip
        self.started = time.monotonic()

    def run(self) -> None:
        """All stages; those that the log already holds are skipped."""
        self._start()
        found = self._known_survey() or self._survey()
        chosen = self._chosen(found)
        if not self.options.dry_run:
            self._search(found, chosen)
            self.place.conclude(self.log, self.say, found.ranking)
            kept.keep_kernels(self.options.out)
        finished = records.RunFinished(seconds=time.monotonic() - self.started)
        self.log.append("run_finished", finished)
        self.say("report", str(report.write(self.options.out)))

    def _start(self) -> None:
        versions = {"kernelite": __version__, "torch": torch.__version__,
                    "python": platform.python_version()}  # fmt: skip
        options = {**asdict(self.options), "out": str(self.options.out)}
        device = self.place.described()
        body = records.RunStarted(
            run=self.options.out.name, target=self.options.target, device=device,
            options=options, versions=versions,
        )  # fmt: skip
        self.log.append("run_started", body)

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

    def _survey(self) -> Survey:
        self.say("profile", f"tracing and profiling {self.options.target}")
        hosts, notes = capture.hosts(self.target)
        for note in notes:
            self.log.append("fallback", records.Fallback(reason=note), uid=f"fallback {note}")
            self.say("capture", note)
        if not hosts:
            raise UsageError(f"{self.options.target}: nothing in it can be traced; {notes[-1]}")
        profiled = self.place.profiled(self.target, hosts)
        self.log.append("profiled", profiled, uid="profiled")
        whole_us = profiled.latency_us or 0.0
        self.say("profile", f"eager takes {whole_us / 1e3:.3g} ms ({profiled.kind})")
        sites = capture.sites(self.target.model, hosts)
        for site in sites:
            kept.keep_problem(self.options.out, site.problem)
            self.log.append("captured", survey.captured(site), uid=f"captured {site.name}")
        exact = sum(site.reproduced or False for site in sites)
        self.say("capture", f"{len(sites)} problems, {exact} reproduced bit for bit")
        ranked = self.place.ranked(self.target, hosts, sites, whole_us)
        self.log.append("ranked", ranked, uid="ranked")
        self.say(
            "rank", f"attainable for the whole model: {ranked.model_attainable:.2f}x (modelled)"
        )
        return Survey({site.name: site.problem for site in sites}, ranked)

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

    def _search(self, found: Survey, chosen: Sequence[records.RankedSite]) -> None:
        """Search the sites in turn, each with its part of what is left."""
        decided = {getattr(event.body, "site", "") for event in self.log.events()
                   if event.kind in self.place.decisions}  # fmt: skip
        todo = [site for site in chosen if site.site not in decided]
        if not todo:
            return
        options = self.options
        deadline = time.monotonic() + options.budget_seconds
        evaluations = options.max_candidates - self._judged()
        with self.place.searching(self.log, self.say, options.backend, options.seed) as search:
            for index, site in enumerate(todo):
                left = sum(s.gain or 0.0 for s in todo[index:]) or 1.0
                part = (site.gain or 0.0) / left
                now = time.monotonic()
                turn = (deadline - now) * part
                until = now + max(turn - self.place.confirm_s, SHORTEST_TURN_S)
                own = max(FEWEST_EVALUATIONS, math.ceil(evaluations * part))
                budget = Budget(until, max(0, min(evaluations, own)))
                evaluations -= budget.evaluations
                search(site.site, found.problems[site.site], budget)
                evaluations += budget.evaluations

    def _judged(self) -> int:
        """How many verdicts of the place's kind the log holds already."""
        return sum(
            isinstance(event.body, records.Evaluated) and event.body.verdict.kind == self.place.kind
            for event in self.log.events("evaluated")
        )


def _check_absent(options: Options) -> None:
    """Refuse what cannot be asked of a GPU that is not here."""
    target = find(options.gpu)
    if options.device != "cpu":
        raise UsageError(
            f"--target {options.gpu} is for a GPU that is not here, --device {options.device} for"
            " one that is; give one of them"
        )
    if options.backend not in ("all", "triton"):
        raise UsageError(
            f"--target compiles kernels of the backend triton, not of {options.backend};"
            " leave --backend out"
        )
    Published.of(target.gpu)
    check_version()


def _check(options: Options) -> None:
    """Refuse what cannot work before anything is written."""
    default = "triton" if options.gpu or options.device != "cpu" else "cpp"
    chosen = backend(default if options.backend == "all" else options.backend)
    if (missing := chosen.missing()) is not None:
        raise MachineError(missing)
    cage.require(options.require_isolation)
    if options.llm != choice.NONE and (options.gpu or options.device != "cpu"):
        raise UsageError(
            "models are asked for kernels of this CPU only so far; leave --llm out, or --device"
            " and --target"
        )
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
