"""The search at one site for a GPU that is not there: propose, compile, emulate, put in order.

No candidate is timed, so none wins: what is right under emulation waits in the order in which it
should be timed (`results.evidence.order`).  A candidate is compiled at the problem's own sizes, for
which emulation would take hours: what is emulated for it is the same plan, with the same choices,
for a small version of the problem.  Beyond each plan's defaults, choices of its parameters are only
compiled; one is emulated if it would come first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kernelite.agent import tune
from kernelite.agent.evidence import Evidence, as_evidence, least_bytes
from kernelite.agent.proposers import NoPlans, Proposer, proposers
from kernelite.agent.search import COSTLY_S, Budget, Say
from kernelite.harness import crosscompile, sources
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.targets.records import Kind
from kernelite.kernels.templates import Choices, Plan
from kernelite.problems.problem import Problem
from kernelite.results import events, records
from kernelite.results.evidence import Compiled, Shortlisted, order
from kernelite.results.log import EventLog
from kernelite.results.unmeasured import told

BACKEND = "triton"
EMULATED = Effort(rounds=0, baselines=())
#: Troubles that are the kernel's; the others leave open what the target would do with it.
FATAL = (Kind.COMPILE, Kind.RESOURCES)
LONGEST_REASON = 160
MOST_CHOICES = 24  # of one plan's parameters, beyond the defaults


@dataclass(frozen=True, slots=True)
class Pair:
    """A plan for the problem, and the one of the same label for its small version."""

    proposer: str
    plan: Plan
    small: Plan | None


@dataclass(slots=True)
class SiteShortlist:
    """The search for one problem; ``run`` writes its outcome to the log.

    Attributes:
        judge: Of the small version of the problem.
        compilers: A server of processes that compile.
        right: Evidence by the id of what is right under emulation.
    """

    site: str
    problem: Problem
    judge: Judge
    compilers: Server
    target: Target
    log: EventLog
    say: Say
    seed: int
    verdicts: dict[tuple[str, str], records.Verdict]
    evidence: Evidence
    right: dict[str, Compiled] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def run(self, budget: Budget) -> None:
        """Try what cheap proposers offer, and more until the budget is spent."""
        pairs = list[Pair]()
        for name, proposer in proposers():
            if proposer.seconds > COSTLY_S and budget.spent(proposer.seconds):
                self.failures.append(f"{name}: not asked, the budget is spent")
            else:
                pairs += self._pairs(name, proposer)
        for pair in pairs:
            self._try(pair, tune.default_choices(pair.plan), budget)
        for pair, choices in self._others(pairs):
            if not self.right or budget.spent():
                break
            self._try(pair, choices, budget, only_if_first=True)
        self._finish()

    def _pairs(self, name: str, proposer: Proposer) -> list[Pair]:
        plans = proposer.propose(self.problem, self.target)
        if isinstance(plans, NoPlans):
            self.failures.append(f"{name}: {plans.reason}")
        small = {
            plan.label: plan
            for plan in (proposer.propose(self.judge.problem, self.target) if plans else ())
        }
        return [Pair(name, plan, small.get(plan.label)) for plan in plans]

    def _others(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Choices]]:
        """Other choices than the defaults, one of each plan in turn."""
        drawn = [[(pair, choices) for choices in _sample(pair.plan, self.seed)] for pair in pairs]
        for index in range(MOST_CHOICES):
            yield from (some[index] for some in drawn if index < len(some))

    def _try(
        self, pair: Pair, choices: Choices, budget: Budget, only_if_first: bool = False
    ) -> None:
        """Compile and emulate one choice of one plan; keep it if it is right."""
        kernel = pair.plan.render(choices)
        key = (kernel.id, self.problem.id)
        if kernel.backend != BACKEND or kernel.id in self.right:
            return
        if key not in self.evidence and budget.evaluations <= 0:
            self.failures.append(f"{pair.proposer}: not tried, the budget is spent")
            return
        candidate = records.Candidate(
            id=kernel.id, problem=self.problem.id, site=self.site, backend=kernel.backend,
            proposer=pair.proposer, label=pair.plan.label, choices=choices, source=kernel.source,
        )  # fmt: skip
        self.log.append("candidate", candidate, uid=f"candidate {kernel.id} {self.problem.id}")
        found = self._evidence(kernel, budget)
        if found.trouble_kind in FATAL:
            return self._refuse(pair, f"not for {found.target}: {found.trouble}")
        if pair.small is None:
            return self._refuse(pair, "no such plan for a small version, so it is not emulated")
        if only_if_first and order(found) >= min(map(order, self.right.values())):
            return
        verdict = self._verdict(kernel, pair.small.render(_fitting(pair.small, choices)))
        if not verdict.passed:
            why = (verdict.log or "").partition("\n")[0][:LONGEST_REASON]
            return self._refuse(pair, f"{verdict.stage}: {verdict.reason}: {why}")
        self.right[kernel.id] = found
        self.say("judge", f"{self.site}  {pair.proposer}  {pair.plan.label}  right under emulation,"
                          f" speed unknown; {told(found)}")  # fmt: skip

    def _refuse(self, pair: Pair, reason: str) -> None:
        self.failures.append(f"{pair.proposer}: {reason}")
        self.say("judge", f"{self.site}  {pair.proposer}  {pair.plan.label}  {reason}")

    def _evidence(self, kernel: Kernel, budget: Budget) -> Compiled:
        """From the log, or from the compilers and then into the log.

        What a cage that may run compilers is not for is left to the judge, who will refuse it.
        """
        key = (kernel.id, self.problem.id)
        if key in self.evidence:
            return self.evidence[key]
        budget.evaluations -= 1
        if any(finding.fatal for finding in sources.findings(kernel.source, BACKEND)):
            return Compiled(*key)
        report = crosscompile.crosscompile(self.compilers, kernel, self.problem, [self.target])
        found = as_evidence(*key, report, least_bytes(self.problem))
        self.log.append("compiled", found, uid=f"compiled {' '.join(key)} {found.target}")
        self.evidence[key] = found
        return found

    def _verdict(self, kernel: Kernel, small: Kernel) -> records.Verdict:
        """From the log, or from the judge on what stands in for it and then into the log."""
        uid = f"emulated {kernel.id} {self.problem.id}"
        if (known := self.verdicts.get((uid, self.problem.id))) is not None:
            return known
        found = self.judge.evaluate(small, EMULATED, self.target.gpu.name)
        verdict = events.as_verdict(found.as_json())
        body = records.Evaluated(
            candidate=kernel.id, problem=self.problem.id, verdict=verdict,
            stand_in=None if small.id == kernel.id else small.source,
        )  # fmt: skip
        self.log.append("evaluated", body, uid=uid)
        return verdict

    def _finish(self) -> None:
        """Put those that are right in order, and say what the site is left with."""
        ranked = sorted(self.right, key=lambda name: order(self.right[name]))
        reason = "; ".join(dict.fromkeys(self.failures)) or "no proposer knows this problem there"
        body = Shortlisted(
            site=self.site, problem=self.problem.id, target=self.target.gpu.name,
            candidates=tuple(ranked), reason="" if ranked else reason,
        )  # fmt: skip
        self.log.append("shortlisted", body, uid=f"shortlisted {self.site}")
        said = f"{len(ranked)} to time on {body.target}" if ranked else f"nothing: {reason}"
        self.say("search", f"{self.site}  {said}")


def _fitting(plan: Plan, choices: Choices) -> Choices:
    """The choices where the plan has them, its defaults where it has not."""
    return {name: choices[name] if choices.get(name) in values else values[0]
            for name, values in plan.space.items()}  # fmt: skip


def _sample(plan: Plan, seed: int) -> list[Choices]:
    """Choices of the plan's parameters, each once, without the defaults."""
    count = tune.size(plan)
    numbers = random.Random(seed).sample(range(1, count), min(MOST_CHOICES, count - 1))
    return [_choices(plan, number) for number in numbers]


def _choices(plan: Plan, number: int) -> Choices:
    """The choices of this number, in the order of counting; 0 is the defaults."""
    chosen = {}
    for name, values in plan.space.items():
        number, index = divmod(number, len(values))
        chosen[name] = values[index]
    return chosen
