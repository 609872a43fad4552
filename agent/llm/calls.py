"""Puts requests to models: in parallel, with retries, within a budget, and into the log.

One thread of its own runs all calls, so that one can be ended at any moment.  A
question is in the log before it is put and its answer before anybody sees it: a
run that goes on pays for no answer twice, and its budget goes on too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

from kernelite.agent.llm.exchange import Client, Ending, Reply, Request, Tokens, Trouble
from kernelite.agent.llm.spend import Ledger, Tariff, Worst, worst
from kernelite.errors import KerneliteError
from kernelite.results.exchanges import Answered, Asked
from kernelite.results.log import EventLog

SHARE_OF_JITTER = 0.5


class NoAnswer(Exception):
    """No model answered; the text says why, for each."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long to try.

    Attributes:
        first_s: Wait before the second try; doubles with each further one, up to ``most_s``.
        honoured_s: The longest wait that a server may ask for; beyond it counts as down.
        down_s: How long a model that is down is not asked.
    """

    tries: int = 4
    first_s: float = 1.0
    most_s: float = 30.0
    honoured_s: float = 60.0
    down_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked.

    Attributes:
        parallel: Calls to its provider that may be in flight.
        patience_s: What one answer may take.
        weight: Its share of the questions, relative to the others.
    """

    provider: str
    name: str
    client: Client
    tariff: Tariff
    parallel: int
    patience_s: float
    weight: float = 1.0

    @property
    def label(self) -> str:
        """As ``--llm`` has it."""
        return f"{self.provider}:{self.name}"


class Calls:
    """The calls of one run; a context manager whose end cancels what is in flight."""

    def __init__(
        self, models: Sequence[Model], ledger: Ledger, log: EventLog,
        say: Callable[[str, str], None], patience: Patience | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.models, self.ledger, self.log, self.say = models, ledger, log, say
        self.patience, self.chance = patience or Patience(), random.Random(seed)
        self.down: dict[str, float] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.slots: Mapping[str, asyncio.Semaphore] = {
            model.provider: asyncio.Semaphore(model.parallel) for model in models
        }
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, name="calls", daemon=True)
        self._charge_the_past()

    def __enter__(self) -> Calls:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def ask(
        self, request: Request, problem: str, deadline: float, cheap: bool = False, avoid: str = ""
    ) -> Future[Answered]:
        """Put a question for a problem; the future's answer is in the log already.

        Args:
            request: Equal requests of one run get one answer, and are paid once.
            problem: Id of the problem that pays for it.
            deadline: On `time.monotonic`'s clock; then there is no answer.
            cheap: Whether the cheapest model will do.
            avoid: Label of a model to ask last.

        The future raises `NoAnswer`, `agent.llm.spend.Exhausted`, `UsageError` (a wrong key or
        model) or `MachineError`; cancelling it ends the call.
        """
        order = self._order(cheap, avoid)
        return asyncio.run_coroutine_threadsafe(
            self._shared(request, problem, deadline, order), self.loop
        )

    def _order(self, cheap: bool, avoid: str) -> list[Model]:
        """One by weight first, then those to fall back on."""
        weights = [model.weight for model in self.models]
        chosen = self.chance.choices(self.models, weights)[0]
        if cheap:
            chosen = min(self.models, key=_dearness)
        order = [chosen, *(model for model in self.models if model is not chosen)]
        return sorted(order, key=lambda model: model.label == avoid)

    async def _shared(
        self, request: Request, problem: str, deadline: float, order: Sequence[Model]
    ) -> Answered:
        """The answer from the log if it is there, or becomes so while an equal call is made."""
        async with self.turns[request.id]:
            event = self.log.find(f"answered {request.id}")
            if event is not None and isinstance(event.body, Answered):
                return event.body
            return await self._first(request, problem, deadline, order)

    async def _first(
        self, request: Request, problem: str, deadline: float, order: Sequence[Model]
    ) -> Answered:
        reasons = []
        if time.monotonic() >= deadline:
            raise NoAnswer("the time is up")
        for model in order:
            if self.down.get(model.label, 0.0) > time.monotonic():
                continue
            try:
                async with self.slots[model.provider]:
                    return await self._tried(model, request, problem, deadline)
            except Trouble as trouble:
                reasons.append(str(trouble))
                if time.monotonic() < deadline:
                    self.say("llm", f"{model.label} is down: {trouble}")
                    self.down[model.label] = time.monotonic() + self.patience.down_s
        raise NoAnswer("; ".join(reasons) or "all models are down")

    async def _tried(
        self, model: Model, request: Request, problem: str, deadline: float
    ) -> Answered:
        """The answer to one of several tries.

        Raises:
            Trouble: of the last of them.
        """
        for attempt in range(self.patience.tries):
            try:
                return await self._once(model, request, problem, deadline)
            except Trouble as trouble:
                pause = self._pause_s(attempt, trouble.wait_s)
                last = attempt == self.patience.tries - 1 or pause > self.patience.honoured_s
                if not trouble.again or last or time.monotonic() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _pause_s(self, attempt: int, wanted_s: float | None) -> float:
        if wanted_s is not None:
            return wanted_s
        longest = min(self.patience.most_s, self.patience.first_s * 2.0**attempt)
        return longest * (1 - SHARE_OF_JITTER * self.chance.random())

    async def _once(
        self, model: Model, request: Request, problem: str, deadline: float
    ) -> Answered:
        """One try: reserve, write down, ask, settle, write down."""
        most = worst(request, model.tariff)
        self.ledger.reserve(problem, most)
        began = time.monotonic()
        tokens, usd, error = most.prompt, most.prompt_usd, "it was cancelled"
        reply: Reply | None = None
        try:
            self.log.append("asked", _asked(model, request, problem, most))
            reply = await self._within(model, request, min(model.patience_s, deadline - began))
            tokens, usd = reply.tokens, model.tariff.usd(reply.tokens)
        except Trouble as trouble:
            error = str(trouble)
            if not trouble.billed:
                tokens, usd = Tokens(estimated=True), 0.0
            if not trouble.full:
                raise
            reply = Reply("", Ending.CONTEXT_FULL, tokens)
        except KerneliteError as fault:
            tokens, usd, error = Tokens(estimated=True), 0.0, str(fault)
            raise
        finally:
            self.ledger.settle(problem, most, tokens.total, usd)
            taken = time.monotonic() - began
            found = self._written_down(model, request, problem, reply, tokens, usd, taken, error)
        return found

    async def _within(self, model: Model, request: Request, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await model.client.complete(request)
        except TimeoutError:
            text = f"{model.label} gave no answer in {seconds:.0f} s"
            raise Trouble(text, again=True, billed=True) from None

    def _written_down(
        self, model: Model, request: Request, problem: str, reply: Reply | None, tokens: Tokens,
        usd: float | None, taken: float, error: str,
    ) -> Answered:  # fmt: skip
        found = Answered(
            request.id, model.provider, model.name, request.purpose, request.version, problem,
            ending=reply.ending.value if reply else "", text=self._hidden(reply.text) if reply
            else "", error="" if reply else self._hidden(error), input=tokens.input,
            cached=tokens.cached, cache_written=tokens.cache_written, output=tokens.output,
            thinking=tokens.thinking, estimated=tokens.estimated, usd=usd, latency_s=taken,
            request_id=reply.request_id if reply else "",
        )  # fmt: skip
        self.log.append("answered", found, uid=f"answered {request.id}" if reply else None)
        return found

    def _hidden(self, text: str) -> str:
        """``text`` without any key: a server may repeat what it was sent."""
        for model in self.models:
            text = model.client.key.hide(text) if model.client.key else text
        return text

    def _charge_the_past(self) -> None:
        """What an earlier attempt at this run spent, calls that its end cut off included."""
        open_questions: list[Asked] = []
        for event in self.log.events():
            match event.body:
                case Asked() as asked:
                    open_questions.append(asked)
                case Answered() as done:
                    self.ledger.charge(done.problem, done.input + done.output, done.usd)
                    asked = next(a for a in open_questions if a.id == done.id)
                    open_questions.remove(asked)
        for asked in open_questions:
            self.ledger.charge(asked.problem, asked.input_tokens, asked.input_usd)

    async def _end(self) -> None:
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for model in self.models:
            await model.client.close()


def _dearness(model: Model) -> float:
    """Price of a million tokens of answer; what has none comes last."""
    usd = model.tariff.usd(Tokens(output=1_000_000))
    return float("inf") if usd is None else usd


def _asked(model: Model, request: Request, problem: str, most: Worst) -> Asked:
    prompt = request.prompt
    return Asked(
        request.id, model.provider, model.name, request.purpose, request.version, problem,
        prompt.system, prompt.task, prompt.turn, request.max_output, request.repeat, most.tokens,
        most.usd, most.prompt.input, most.prompt_usd,
    )  # fmt: skip
