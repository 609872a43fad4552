"""Calls over real connections: retries, limits, the log, and what a run that goes on pays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("openai")

import openai

from kernelite.agent.llm.calls import Calls, Model, NoAnswer, Patience
from kernelite.agent.llm.exchange import Prompt, Request
from kernelite.agent.llm.keys import Key
from kernelite.agent.llm.spend import Exhausted, Ledger, Limits, Price
from kernelite.agent.providers.compatible import ChatClient
from kernelite.errors import UsageError
from kernelite.results import log
from kernelite.results.exchanges import Answered, Asked
from tests.agent.llm.loopback import Loopback, Step, serving

PRICE = Price(input=1000.0, output=10_000.0, cached=100.0, cache_write=1000.0)
QUICK = Patience(tries=4, first_s=0.02, most_s=0.05, honoured_s=0.5, down_s=30.0)
BOUNDLESS = Limits()
SECRET = "sk-a-secret-0123456789"


def question(turn: str = "turn") -> Request:
    return Request("generate", "v1", Prompt("system", "task", turn), 100)


def model(url: str, name: str = "m", weight: float = 1.0, price: Price = PRICE) -> Model:
    client = ChatClient(openai, name, f"{url}/v1", Key(SECRET, "X"))
    return Model("compatible", name, client, price, 4, 30.0, weight)


@contextmanager
def calling(
    folder: Path, *models: Model, limits: Limits = BOUNDLESS, patience: Patience = QUICK
) -> Iterator[Calls]:
    with log.EventLog(folder) as events:
        calls = Calls(models, Ledger(limits), events, lambda *_: None, patience)
        with calls:
            yield calls


def answer(calls: Calls, request: Request | None = None, seconds: float = 20.0) -> Answered:
    return calls.ask(request or question(), "p1", time.monotonic() + seconds).result(30)


def bodies(folder: Path) -> list[Asked | Answered]:
    found = [event.body for event in log.read(folder)]
    return [body for body in found if isinstance(body, Asked | Answered)]


@pytest.mark.parametrize(
    "fault",
    [Step(status=429), Step(status=500), Step(status=529), Step(cut=0), Step("a b", cut=2),
     Step("a b", bad=True)],
)  # fmt: skip
def test_a_fault_that_passes_is_tried_again(tmp_path: Path, fault: Step) -> None:
    with serving(fault, fault, Step("yes")) as server, calling(tmp_path, model(server.url)) as it:
        assert answer(it).text == "yes"
        assert len(server.received) == 3


def test_the_wait_that_a_server_asks_for_is_kept(tmp_path: Path) -> None:
    busy = Step(status=429, headers={"retry-after": "0.4"})
    with serving(busy, Step("yes")) as server, calling(tmp_path, model(server.url)) as it:
        began = time.monotonic()
        answer(it)
        assert time.monotonic() - began >= 0.4


def test_a_wait_beyond_reason_is_not_kept(tmp_path: Path) -> None:
    busy = Step(status=429, headers={"retry-after": "3000"})
    with serving(busy) as server, calling(tmp_path, model(server.url)) as it:
        with pytest.raises(NoAnswer, match="429"):
            answer(it)
        assert len(server.received) == 1


def test_tries_come_to_an_end_and_a_model_that_is_down_rests(tmp_path: Path) -> None:
    with serving(Step(status=500)) as server, calling(tmp_path, model(server.url)) as it:
        with pytest.raises(NoAnswer, match="500"):
            answer(it)
        assert len(server.received) == QUICK.tries
        with pytest.raises(NoAnswer, match="all models are down"):
            answer(it, question("another"))
        assert len(server.received) == QUICK.tries


def test_another_model_answers_for_one_that_is_down(tmp_path: Path) -> None:
    with (
        serving(Step(status=500)) as broken, serving(Step("yes")) as sound,
        calling(tmp_path, model(broken.url, "broken", 1e9), model(sound.url, "sound")) as it,
    ):  # fmt: skip
        assert answer(it).model == "sound"


def test_the_cheapest_model_is_enough_where_that_is_said(tmp_path: Path) -> None:
    dear = Price(1e4, 1e5, 1e4, 1e4)
    with (
        serving(Step("yes")) as server,
        calling(tmp_path, model(server.url, "dear", 1e9, dear), model(server.url, "cheap")) as it,
    ):  # fmt: skip
        assert answer(it).model == "dear"
        deadline = time.monotonic() + 20
        cheap = it.ask(question("b"), "p1", deadline, cheap=True).result()
        assert cheap.model == "cheap"
        other = it.ask(question("c"), "p1", deadline, avoid="compatible:dear").result()
        assert other.model == "cheap"


def test_a_call_is_written_down_before_it_and_its_answer_after(tmp_path: Path) -> None:
    with serving(Step("yes")) as server, calling(tmp_path, model(server.url)) as it:
        found = answer(it)
        asked, answered = bodies(tmp_path)
    assert isinstance(asked, Asked)
    assert (asked.system, asked.task, asked.turn) == ("system", "task", "turn")
    assert answered == found
    assert (found.input, found.cached, found.output, found.thinking) == (100, 64, 7, 3)
    assert found.cached_share == 0.64
    assert found.usd == pytest.approx((36 * 1000 + 64 * 100 + 7 * 10_000) / 1e6)
    assert found.latency_s is not None
    assert (found.version, found.problem, found.purpose) == ("v1", "p1", "generate")


def test_an_equal_question_is_paid_once_also_by_a_run_that_goes_on(tmp_path: Path) -> None:
    with serving(Step("yes", sleep_s=0.1)) as server:
        for _ in range(2):
            with calling(tmp_path, model(server.url)) as it:
                deadline = time.monotonic() + 20
                both = [it.ask(question(), "p1", deadline) for _ in range(2)]
                assert [future.result().text for future in both] == ["yes", "yes"]
        assert len(server.received) == 1


def test_a_run_that_goes_on_has_spent_what_it_spent(tmp_path: Path) -> None:
    with serving(Step("yes")) as server:
        with calling(tmp_path, model(server.url)) as it:
            answer(it)
            spent = it.ledger.run.usd
        with calling(tmp_path, model(server.url)) as it:
            assert it.ledger.run.usd == pytest.approx(spent)
            assert it.ledger.kernels["p1"].tokens == 107


def test_a_call_that_was_cut_off_by_the_end_is_charged_with_its_prompt(tmp_path: Path) -> None:
    with log.EventLog(tmp_path) as events:
        events.append("asked", Asked("1", problem="p1", input_tokens=50, input_usd=0.2))
    with serving(Step()) as server, calling(tmp_path, model(server.url)) as it:
        assert (it.ledger.run.tokens, it.ledger.run.usd) == (50, 0.2)


def test_calls_in_flight_cannot_overshoot_the_budget(tmp_path: Path) -> None:
    limits = Limits(usd=3.0)  # one call takes 0.1, and 1.2 at worst
    with serving(Step("yes", sleep_s=0.2)) as server:
        with calling(tmp_path, model(server.url), limits=limits) as it:
            deadline = time.monotonic() + 20
            futures = [it.ask(question(str(n)), "p1", deadline) for n in range(4)]
            refused = [f for f in futures if isinstance(f.exception(), Exhausted)]
            assert 1 <= len(refused) < 4
        assert len(server.received) == 4 - len(refused)


def test_a_budget_of_zero_asks_nobody(tmp_path: Path) -> None:
    with serving(Step("yes")) as server:
        calls = calling(tmp_path, model(server.url), limits=Limits(usd=0.0))
        with calls as it, pytest.raises(Exhausted):
            answer(it)
        assert server.received == []
    assert bodies(tmp_path) == []


def test_no_more_calls_are_in_flight_than_the_provider_allows(tmp_path: Path) -> None:
    with serving(Step("yes", sleep_s=0.1)) as server, calling(tmp_path, model(server.url)) as it:
        deadline = time.monotonic() + 30
        for future in [it.ask(question(str(n)), "p1", deadline) for n in range(12)]:
            future.result(30)
        assert 2 <= server.most_flying <= 4


@pytest.mark.parametrize("step", [Step("a", sleep_s=5.0), Step("word " * 99, drip_s=0.05)])
def test_a_deadline_ends_a_call_and_its_prompt_is_charged(tmp_path: Path, step: Step) -> None:
    with serving(step) as server, calling(tmp_path, model(server.url)) as it:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="no answer in"):
            answer(it, seconds=0.5)
        assert time.monotonic() - began < 4
        _, failed = bodies(tmp_path)
    assert isinstance(failed, Answered)
    assert failed.estimated
    assert failed.usd is not None
    assert failed.usd > 0


def test_a_call_can_be_cancelled(tmp_path: Path) -> None:
    with serving(Step("a", sleep_s=5.0)) as server, calling(tmp_path, model(server.url)) as it:
        future = it.ask(question(), "p1", time.monotonic() + 20)
        while not server.received:
            time.sleep(0.01)
        future.cancel()
        with pytest.raises(CancelledError):
            future.result(3)


def test_a_wrong_key_reaches_the_operator_and_costs_nothing(tmp_path: Path) -> None:
    with serving(Step(status=401)) as server, calling(tmp_path, model(server.url)) as it:
        with pytest.raises(UsageError, match="refused the key"):
            answer(it)
        assert it.ledger.run.usd == 0.0
        assert len(server.received) == 1


def held_secret(server: Loopback) -> bool:
    return any(SECRET in json.dumps(dict(received.headers)) for received in server.received)


def test_a_key_is_in_no_event_whatever_a_server_says(tmp_path: Path) -> None:
    error = Step(status=500, body={"error": {"message": f"your key is {SECRET}"}})
    with serving(error, Step(f"it is {SECRET}")) as server:
        with calling(tmp_path, model(server.url)) as it:
            assert answer(it).text == "it is [key]"
        assert held_secret(server)
    held = [path for path in tmp_path.rglob("*") if SECRET.encode() in path.read_bytes()]
    assert held == []
    assert "[key]" in json.dumps([body.error for body in bodies(tmp_path)
                                  if isinstance(body, Answered)])  # fmt: skip
