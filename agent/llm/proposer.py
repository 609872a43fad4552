"""A language model as a proposer: ideas first, then code, then what the judge said of it.

The event log is the only channel back: a plan is handed to the search, and when
the search asks for the next one, the verdict on the last stands in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace

from kernelite.agent.llm import answers, decisions, facts
from kernelite.agent.llm.answers import Repair, Unusable
from kernelite.agent.llm.calls import Calls, NoAnswer
from kernelite.agent.llm.decisions import Idea
from kernelite.agent.llm.exchange import Prompt, Request
from kernelite.agent.llm.spend import Exhausted
from kernelite.agent.proposers import Fixed
from kernelite.agent.search import verdict_on
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Plan
from kernelite.problems.problem import Problem
from kernelite.prompts import render, version
from kernelite.results import records
from kernelite.results.exchanges import Answered, Asked
from kernelite.results.log import EventLog

IDEAS, IMPLEMENTED = 5, 3
REPAIRS = 2
ROUNDS = 4  # of optimising; the second in a row without a gain is the last
LONG_LINES = 250  # parents beyond may be edited instead of written again
LAST_ATTEMPTS = 5
PLAN_TOKENS, CODE_TOKENS, MOST_TOKENS = 8_000, 24_000, 64_000
PLAIN = Idea("fused", "everything in one pass over the data, as plainly as possible")
RULES = {
    Repair.LENGTHEN: "Answer in fewer words: a shorter plan, no comments in the code.",
    Repair.TELL: "Answer the request above in the form that it asks for.",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A kernel that was judged, and the idea behind it."""

    idea: Idea
    kernel: Kernel
    verdict: records.Verdict

    @property
    def lower(self) -> float:
        """Lower bound of the measured speed-up; 0 if there is none."""
        timing = self.verdict.timing
        return (self.verdict.passed and timing and timing.lower) or 0.0

    def __str__(self) -> str:
        expected = self.idea.effect
        return f"{self.idea.name}: expected {expected}; {facts.speed(self.verdict)}"


class Thinker:
    """A `Proposer` for one site, until a deadline on `time.monotonic`'s clock."""

    seconds = 30.0

    def __init__(
        self, calls: Calls, log: EventLog, say: Callable[[str, str], None], backend: str,
        site: str, deadline: float,
    ) -> None:  # fmt: skip
        self.calls, self.log, self.say, self.backend = calls, log, say, backend
        self.site, self.deadline = site, deadline
        self.ranked = facts.site_of(log, site)
        self.attempts: list[Attempt] = []

    def propose(self, problem: Problem, target: Target | None = None) -> Iterator[Plan]:
        """Kernels for this CPU, each after the verdict on the last; ends when nobody answers."""
        try:
            yield from _Conversation(self, problem).kernels()
        except (NoAnswer, Exhausted) as end:
            reason = f"the language model was asked no further: {end}"
            self.log.append("fallback", records.Fallback(reason=reason, site=self.site))
            self.say("llm", f"{self.site}  {reason}")


class _Conversation:
    """All that is asked about one problem."""

    def __init__(self, thinker: Thinker, problem: Problem) -> None:
        self.thinker, self.problem = thinker, problem
        self.backend, self.attempts = thinker.backend, thinker.attempts
        guide = render(f"guide_{self.backend}")
        self.system = "\n\n".join((render("system"), guide, facts.hardware(thinker.log)))
        self.task = facts.task(problem, thinker.ranked)

    def kernels(self) -> Iterator[Plan]:
        """Plan, implement the best ideas, give the first that failed a second try, improve."""
        ideas = self.ideas()[:IMPLEMENTED]
        questions = {self.start(request := self.first(idea)): (idea, request) for idea in ideas}
        ended: NoAnswer | Exhausted | None = None
        try:
            for future in as_completed(questions):
                try:
                    answer = future.result()
                except (
                    NoAnswer,
                    Exhausted,
                ) as end:  # the others go on
                    ended = end
                else:
                    yield from self.developed(*questions[future], answer)
        finally:  # the search may have enough before all have answered
            for future in questions:
                future.cancel()
        if ended is not None:
            raise ended
        self.attempts.sort(key=lambda attempt: ideas.index(attempt.idea))  # not by who was first
        right = {attempt.idea.name for attempt in self.attempts if attempt.verdict.passed}
        for idea in [idea for idea in ideas if idea.name not in right][:1]:
            again = replace(self.first(idea), repeat=1)
            yield from self.developed(idea, again, self.ask(again))
        yield from self.improved()

    def ideas(self) -> list[Idea]:
        """What the model would try; the plainest idea there is if it cannot say."""
        seen = "Seen so far:\n" + facts.listed(self.known_kernels(), LAST_ATTEMPTS)
        request = self.request(
            "plan", PLAN_TOKENS, count=str(IDEAS), backend=self.backend, tried=seen
        )
        answer = self.ask(request)
        found = decisions.read(answer, list[Idea])
        for _ in range(REPAIRS):
            if not isinstance(found, Unusable) or found.repair is Repair.GIVE_UP:
                break
            answer = self.mended(request, found, answer)
            found = decisions.read(answer, list[Idea])
        return [PLAIN] if isinstance(found, Unusable) or not found else found

    def first(self, idea: Idea) -> Request:
        """The question for an idea's first kernel."""
        return self.request(
            "generate", CODE_TOKENS, backend=self.backend, idea=str(idea), exemplar=""
        )

    def developed(
        self, idea: Idea, request: Request, answer: Answered, parent: str | None = None
    ) -> Iterator[Plan]:
        """The kernel of an answer, and its repairs until one is right."""
        for repairs_left in range(REPAIRS, -1, -1):
            found = answers.read(answer, self.backend, parent)
            if isinstance(found, Unusable):
                self.say(f"{idea.label}: {found.fault}")
                if not repairs_left or found.repair is Repair.GIVE_UP:
                    return
                answer = self.mended(request, found, answer)
                continue
            kernel = Kernel(self.backend, found.source)
            yield Fixed(idea.label, kernel)
            verdict = verdict_on(self.thinker.log, kernel, self.problem)
            if verdict is None:  # the search's budget is spent
                return
            self.attempts.append(Attempt(idea, kernel, verdict))
            if verdict.passed or not repairs_left:
                return
            request, parent = self.repair(kernel, verdict), kernel.source
            answer = self.ask(request, cheap=True)

    def repair(self, kernel: Kernel, verdict: records.Verdict) -> Request:
        """The question after a refusal."""
        return self.request(
            "repair", CODE_TOKENS, backend=self.backend, source=kernel.source,
            stage=verdict.stage or "?", failure=facts.failure(verdict),
        )  # fmt: skip

    def improved(self) -> Iterator[Plan]:
        """The best right kernel, changed again and again while that pays."""
        idle = 0
        for turn in range(1, ROUNDS + 1):
            best = max(self.attempts, key=lambda attempt: attempt.lower, default=None)
            if best is None or best.lower <= 0 or idle > 1:
                return
            request = self.optimise(best)
            idea = replace(best.idea, name=f"{best.idea.name.partition(' #')[0]} #{turn + 1}")
            answer = self.ask(request)
            yield from self.developed(idea, request, answer, best.kernel.source)
            idle = 0 if max(a.lower for a in self.attempts) > best.lower else idle + 1

    def optimise(self, best: Attempt) -> Request:
        """The question for a faster kernel."""
        site, source = self.thinker.ranked, best.kernel.source
        long = source.count("\n") > LONG_LINES
        return self.request(
            "optimise", CODE_TOKENS, backend=self.backend, source=source, lessons="",
            measured=facts.measurements(best.verdict, site),
            attempts=facts.listed(map(str, self.attempts), LAST_ATTEMPTS),
            bound=(site and site.limit) or best.idea.bound or "find out what",
            edits=", or with SEARCH/REPLACE edits of this source" if long else "",
        )  # fmt: skip

    def known_kernels(self) -> list[str]:
        """What the search had found when a model was first asked, one line each.

        What it finds later, going on after a stop, must not turn the plan into a new question.
        """
        names: dict[str, str] = {}
        verdicts: dict[str, str] = {}
        for event in self.thinker.log.events():
            match event.body:
                case Asked(problem=self.problem.id):
                    break
                case records.Candidate(problem=self.problem.id) as found:
                    names[found.id] = f"{found.label} by {found.proposer} ({found.backend})"
                case records.Evaluated(problem=self.problem.id) as judged:
                    verdicts[judged.candidate] = facts.speed(judged.verdict)
        return [f"{name}: {verdicts[key]}" for key, name in names.items() if key in verdicts]

    def mended(self, request: Request, found: Unusable, before: Answered) -> Answered:
        """The answer to the same question, put so that the fault need not come again."""
        avoid, most = "", request.max_output
        match found.repair:
            case Repair.REPEAT:
                request = replace(request, repeat=request.repeat + 1)
            case Repair.ELSEWHERE:
                avoid = f"{before.provider}:{before.model}"
                request = replace(request, repeat=request.repeat + 1)
            case rule:
                most = min(MOST_TOKENS, 2 * most) if rule is Repair.LENGTHEN else most
                turn = render(
                    "again", request=request.prompt.turn, lesson=found.lesson, rule=RULES[rule]
                )
                request = replace(
                    request, prompt=replace(request.prompt, turn=turn), max_output=most
                )
        return self.ask(request, avoid=avoid)

    def start(self, request: Request, cheap: bool = False, avoid: str = "") -> Future[Answered]:
        """Put a question; see `agent.llm.calls.Calls.ask`."""
        thinker = self.thinker
        return thinker.calls.ask(request, self.problem.id, thinker.deadline, cheap, avoid)

    def ask(self, request: Request, cheap: bool = False, avoid: str = "") -> Answered:
        """Put a question and wait for its answer; Ctrl-C ends the call."""
        future = self.start(request, cheap, avoid)
        try:
            return future.result()
        finally:
            future.cancel()

    def say(self, text: str) -> None:
        """A line of progress."""
        self.thinker.say("llm", f"{self.thinker.site}  {text}")

    def request(self, purpose: str, max_output: int, **fields: str) -> Request:
        """A question in this conversation's frame."""
        used = ("system", f"guide_{self.backend}", "hardware", "task", purpose)
        prompt = Prompt(self.system, self.task, render(purpose, **fields))
        return Request(purpose, version(*used), prompt, max_output)
