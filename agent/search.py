"""The search at one site: propose, judge, tune, confirm.

Nothing is evaluated twice: what the log already holds, from this run or from
the one that it resumes, is read from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kernelite.agent import tune
from kernelite.agent.proposers import Proposer, proposers
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.verdict import Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Choices, Plan
from kernelite.problems.problem import Problem
from kernelite.results import events, records
from kernelite.results.log import EventLog

Say = Callable[[str, str], None]
Think = Callable[[str, float], Proposer]

QUICK = Effort(rounds=60, seconds=0.6, baselines=("eager",), narrow=0.04, thorough=False)
FULL = Effort(rounds=200, seconds=1.0, baselines=("eager", "compile"), stages=("timing",))
FINAL = Effort(rounds=0, baselines=())
CONFIRM_S = 4.0  # what measuring one finalist takes, torch.compile included
WORTH_KEEPING = 1.02
TRIALS = 60
COSTLY_S = 2.0  # a proposer above this is asked after tuning what there is
FINALISTS = 2
WITHOUT_LLM = 0.5  # part of a site's budget that is spent before a language model is asked
CLOSE = 0.97  # a runner-up this near to the best is measured again too


def known_verdicts(log: EventLog) -> dict[tuple[str, str], records.Verdict]:
    """What the log holds already, by the event's uid and the problem's id."""
    return {
        (event.uid, event.body.problem): event.body.verdict
        for event in log.events("evaluated")
        if isinstance(event.body, records.Evaluated)
    }


@dataclass(slots=True)
class Budget:
    """What a campaign may still spend on candidates."""

    deadline: float
    evaluations: int

    def spent(self, ahead_s: float = 0.0) -> bool:
        """Whether nothing more that takes ``ahead_s`` may be begun."""
        return self.evaluations <= 0 or time.monotonic() + ahead_s >= self.deadline

    def part(self, share: float) -> Budget:
        """A part of what is left, to be spent first; its evaluations are taken out of this one."""
        now = time.monotonic()
        taken = math.ceil(self.evaluations * share)
        self.evaluations -= taken
        return Budget(now + (self.deadline - now) * share, taken)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A candidate that passed, and its plan."""

    proposer: str
    plan: Plan
    choices: Choices
    kernel: Kernel
    verdict: records.Verdict

    @property
    def median(self) -> float:
        """Speed-up over eager; 0 if unknown."""
        timing = self.verdict.timing
        found = timing.eager.median if timing and timing.eager else None
        return found or 0.0

    @property
    def lower(self) -> float:
        """Lower bound of the speed-up over eager; 0 if unknown."""
        timing = self.verdict.timing
        found = timing.eager.lower if timing and timing.eager else None
        return found or 0.0


@dataclass(slots=True)
class SiteSearch:
    """The search for one problem; ``run`` writes its outcome to the log.

    Attributes:
        target: The GPU of the judge's placement; None for this CPU.
        earlier: Proposers of what the run has found elsewhere.
        think: Makes a language model's proposer for a site and a deadline; None to ask none.
    """

    site: str
    problem: Problem
    judge: Judge
    log: EventLog
    say: Say
    device: str
    backend: str
    seed: int
    known: dict[tuple[str, str], records.Verdict]
    learnt: dict[str, Choices] = field(default_factory=dict)
    target: Target | None = None
    earlier: Sequence[tuple[str, Proposer]] = ()
    think: Think | None = None
    passed: list[Entrant] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tuned: bool = False

    def run(self, budget: Budget) -> records.Winner | None:
        """Search until the budget is spent; the winner, if one is faster than eager."""
        if self.think is None:
            self._without_llm(budget)
        else:
            part = budget.part(WITHOUT_LLM)
            self._without_llm(part)
            budget.evaluations += part.evaluations
            late = max(0.0, time.monotonic() - part.deadline)  # not at the model's expense
            self._ask("llm", self.think(self.site, budget.deadline + late), budget)
        return self._finish()

    def _without_llm(self, budget: Budget) -> None:
        for name, proposer in sorted([*proposers(), *self.earlier], key=lambda p: p[1].seconds):
            if proposer.seconds > COSTLY_S and self.passed:
                self._tune_best(budget)
                if budget.spent(proposer.seconds):
                    continue
            self._ask(name, proposer, budget)
        self._tune_best(budget)

    def _ask(self, name: str, proposer: Proposer, budget: Budget) -> None:
        for plan in proposer.propose(self.problem, self.target):
            for choices in self._first_choices(plan):
                self._try(name, plan, choices, None, budget)

    def _first_choices(self, plan: Plan) -> list[Choices]:
        """The plan's defaults, and what was best for a like plan at another site."""
        default = tune.default_choices(plan)
        learnt = self.learnt.get(plan.label, default)
        fits = all(learnt.get(name) in values for name, values in plan.space.items())
        return [default, learnt] if fits and learnt != default else [default]

    def _try(
        self, proposer: str, plan: Plan, choices: Choices, parent: str | None, budget: Budget
    ) -> Entrant | None:
        """Judge one choice of one plan; None if it failed or its backend is not wanted."""
        kernel = plan.render(choices)
        uid = f"quick {kernel.id} {self.problem.id}"
        if self.backend not in ("all", kernel.backend):
            return None
        if budget.evaluations <= 0 and (uid, self.problem.id) not in self.known:
            return None
        candidate = records.Candidate(
            id=kernel.id, problem=self.problem.id, site=self.site, backend=kernel.backend,
            proposer=proposer, label=plan.label, choices=choices, source=kernel.source,
            parent=parent,
        )  # fmt: skip
        self.log.append("candidate", candidate, uid=f"candidate {kernel.id} {self.problem.id}")
        verdict = self._verdict(kernel, "quick", QUICK, budget)
        if not verdict.passed:
            self.failures.append(f"{proposer}: {verdict.stage}: {verdict.reason}")
            self.say("judge", f"{self.site}  {proposer}  {plan.label}  failed at {verdict.stage}")
            return None
        twin = next((e for e in self.passed if e.kernel.id == kernel.id), None)
        if twin is not None:
            return twin
        entrant = Entrant(proposer, plan, choices, kernel, verdict)
        self.passed.append(entrant)
        ratio = verdict.timing.median if verdict.timing else None
        text = "no time" if ratio is None else f"{ratio:.2f}x eager"
        self.say("judge", f"{self.site}  {proposer}  {plan.label}  {text}")
        return entrant

    def _verdict(
        self, kernel: Kernel, kind: str, effort: Effort, budget: Budget,
        before: records.Verdict | None = None,
    ) -> records.Verdict:  # fmt: skip
        """From the log, or from the judge and then into the log, together with one ``before``."""
        uid = f"{kind} {kernel.id} {self.problem.id}"
        if (known := self.known.get((uid, self.problem.id))) is not None:
            return known
        budget.evaluations -= 1
        found: Verdict = self.judge.evaluate(kernel, effort, self.device)
        verdict = events.as_verdict(found.as_json())
        if before is not None and verdict.passed:
            verdict = _together(before, verdict)
        body = records.Evaluated(candidate=kernel.id, problem=self.problem.id, verdict=verdict)
        self.log.append("evaluated", body, uid=uid)
        self.known[uid, self.problem.id] = verdict
        return verdict

    def _tune_best(self, budget: Budget) -> None:
        """Tune the most promising plan that leaves something open."""
        open_plans = [e for e in self.passed if tune.size(e.plan) > 1]
        if not open_plans or budget.spent() or self.tuned:
            return
        self.tuned = True
        best, start = max(open_plans, key=lambda e: e.lower), time.monotonic()

        def measure(choices: Choices) -> float | None:
            if budget.spent():
                raise StopIteration
            entrant = self._try(best.proposer, best.plan, choices, best.kernel.id, budget)
            return math.log(max(entrant.lower, 1e-6)) if entrant else None

        trials = tune.tune(best.plan, measure, TRIALS, self.seed)
        top = max(self.passed, key=lambda e: e.lower)
        body = records.Tuned(
            site=self.site, problem=self.problem.id, trials=trials, best=top.kernel.id,
            seconds=time.monotonic() - start,
        )  # fmt: skip
        self.log.append("tuned", body, uid=f"tuned {self.site}")

    def _finish(self) -> records.Winner | None:
        """Measure the best again, against every baseline, and decide."""
        ranked = sorted(self.passed, key=lambda e: -e.lower)
        distinct = list({e.kernel.id: e for e in ranked}.values())
        finalists = [e for e in distinct if e.lower >= CLOSE * distinct[0].lower][:FINALISTS]
        unlimited = Budget(math.inf, len(finalists))
        confirmed = [
            replace(e, verdict=self._verdict(e.kernel, "full", FULL, unlimited, e.verdict))
            for e in finalists
            if e.median > 1.0
        ]
        confirmed.sort(key=lambda e: -e.lower)
        worth = [e for e in confirmed if e.lower >= WORTH_KEEPING]
        best = next((found for e in worth if (found := self._thoroughly(e))), None)
        if best is None:
            self._no_winner(None if worth else next(iter(confirmed or ranked), None))
            return None
        self.learnt[best.plan.label] = best.choices
        timing = best.verdict.timing
        winner = records.Winner(
            site=self.site, candidate=best.kernel.id, problem=self.problem.id,
            proposer=best.proposer, backend=best.kernel.backend,
            vs_eager=timing.eager if timing else None,
            vs_compile=timing.compile if timing else None,
        )  # fmt: skip
        self.log.append("winner", winner, uid=f"winner {self.site}")
        self.say("search", f"{self.site}  winner: {best.plan.label} by {best.proposer}, "
                           f"at least {best.lower:.2f}x eager")  # fmt: skip
        return winner

    def _thoroughly(self, entrant: Entrant) -> Entrant | None:
        """The entrant with every stage asked but its time as it was; None if one refuses it."""
        once = Budget(math.inf, 1)
        verdict = self._verdict(entrant.kernel, "final", FINAL, once, entrant.verdict)
        if not verdict.passed:
            self.failures.append(f"{entrant.proposer}: {verdict.stage}: {verdict.reason}")
            self.say("judge", f"{self.site}  {entrant.plan.label}  failed at {verdict.stage}")
            return None
        return replace(entrant, verdict=verdict)

    def _no_winner(self, best: Entrant | None) -> None:
        if best is not None:
            reason = f"the best candidate is at least {best.lower:.2f}x eager; not worth a patch"
        else:
            reason = "; ".join(dict.fromkeys(self.failures)) or "no proposer knows this problem"
        self.log.append(
            "no_winner", records.NoWinner(site=self.site, reason=reason), uid=f"none {self.site}"
        )
        self.say("search", f"{self.site}  no winner: {reason}")


def verdict_on(log: EventLog, kernel: Kernel, problem: Problem) -> records.Verdict | None:
    """The verdict on a kernel that the search was offered; None if it was not judged."""
    event = log.find(f"quick {kernel.id} {problem.id}")
    body = event.body if event is not None else None
    return body.verdict if isinstance(body, records.Evaluated) else None


def _together(before: records.Verdict, after: records.Verdict) -> records.Verdict:
    """One verdict of two that asked different stages of a kernel; the later counts."""
    found = {stage.name: stage for stage in before.stages}
    found |= {s.name: s for s in after.stages if s.status != "skipped" or s.name not in found}
    most = max(before.stages, after.stages, key=len)
    ratios = [v.accuracy_ratio for v in (before, after) if v.accuracy_ratio is not None]
    return replace(
        after,
        stages=tuple(found[stage.name] for stage in most),
        timing=after.timing or before.timing,
        accuracy_ratio=max(ratios, default=None),
    )
