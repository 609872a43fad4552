"""The official SDKs against a server of ours: what each answer and each fault becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("anthropic")

import anthropic
import openai

from kernelite.agent import providers
from kernelite.agent.llm.exchange import Client, Ending, Prompt, Reply, Request, Tokens, Trouble
from kernelite.agent.llm.keys import Key
from kernelite.agent.providers.anthropic import MessagesClient
from kernelite.agent.providers.compatible import ChatClient
from kernelite.agent.providers.openai import ResponsesClient
from kernelite.errors import UsageError
from tests.agent.llm.loopback import Loopback, Step, serving

REQUEST = Request("generate", "v1", Prompt("the system", "the task", "the turn"), 500)
SECRET = "sk-a-secret-0123456789"
KEY = Key(SECRET, "SOME_VARIABLE")
Make = Callable[[str], Client]


@pytest.fixture(params=["openai", "compatible", "anthropic"])
def make(request: pytest.FixtureRequest) -> Make:
    """A client of each wire format for a server's address."""
    return {
        "openai": lambda url: ResponsesClient(openai, "m", KEY, f"{url}/v1"),
        "compatible": lambda url: ChatClient(openai, "m", f"{url}/v1", KEY),
        "anthropic": lambda url: MessagesClient(anthropic, "m", KEY, url),
    }[request.param]


def completed(client: Client, request: Request = REQUEST) -> Reply:
    async def once() -> Reply:
        try:
            return await client.complete(request)
        finally:
            await client.close()

    return asyncio.run(once())


def answered(make: Make, step: Step) -> Reply:
    with serving(step) as server:
        return completed(make(server.url))


def troubled(make: Make, *steps: Step) -> Trouble:
    with serving(*steps) as server, pytest.raises(Trouble) as caught:
        completed(make(server.url))
    return caught.value


def test_every_provider_offers_what_a_provider_must() -> None:
    for name in providers.names():
        assert providers.provider(name).parallel >= 1


def test_an_answer_arrives_with_its_tokens_counted_alike(make: Make) -> None:
    reply = answered(make, Step("two words"))
    thinking = reply.tokens.thinking
    assert (reply.text, reply.ending) == ("two words", Ending.DONE)
    assert reply.tokens == Tokens(100, 64, 0, 7, thinking)
    assert reply.request_id


@pytest.mark.parametrize("ending", ["truncated", "refused"])
def test_how_an_answer_ends_is_a_value(make: Make, ending: str) -> None:
    assert answered(make, Step("half an ans", ending=ending)).ending == ending


def test_an_answer_of_blanks_is_empty(make: Make) -> None:
    assert answered(make, Step(" ")).ending is Ending.EMPTY
    assert answered(make, Step("")).ending is Ending.EMPTY


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_server_in_need_is_worth_another_try(make: Make, status: int) -> None:
    trouble = troubled(make, Step(status=status, headers={"retry-after": "7"}))
    assert trouble.again
    assert trouble.wait_s == 7.0
    assert trouble.billed is (status == 500)
    assert troubled(make, Step(status=status)).wait_s is None


def test_one_call_asks_once_for_the_sdk_does_not_retry(make: Make) -> None:
    with serving(Step(status=500)) as server:
        with pytest.raises(Trouble):
            completed(make(server.url))
        assert len(server.received) == 1


@pytest.mark.parametrize(
    "error",
    [{"type": "insufficient_quota", "message": "m"}, {"type": "x", "code": "billing_hard_limit"}],
)
def test_no_more_money_is_not_worth_another_try(make: Make, error: Mapping[str, str]) -> None:
    assert not troubled(make, Step(status=429, body={"error": error})).again


@pytest.mark.parametrize(
    "step",
    [Step("some words", cut=0), Step("some words", cut=2), Step("some words", bad=True),
     Step("some words", cut=2, politely=True), Step("some words", error="overloaded_error")],
)  # fmt: skip
def test_a_broken_stream_is_worth_another_try_and_may_cost(make: Make, step: Step) -> None:
    trouble = troubled(make, step)
    assert trouble.again
    assert trouble.billed


def test_a_server_that_is_not_there_costs_nothing(make: Make) -> None:
    with serving(Step()) as server:
        url = server.url
    with pytest.raises(Trouble, match="cannot be reached") as caught:
        completed(make(url))
    assert caught.value.again
    assert not caught.value.billed


def test_a_prompt_that_is_too_long_is_no_reason_to_try_again(make: Make) -> None:
    error = {"message": "maximum context length is 8", "code": "context_length_exceeded"}
    trouble = troubled(make, Step(status=400, body={"error": error}))
    assert trouble.full
    assert not trouble.again


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_the_operator_s_mistake_and_is_not_shown(make: Make, status: int) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {SECRET}"}}
    with serving(Step(status=status, body=body)) as server:
        with pytest.raises(UsageError, match="refused the key from SOME_VARIABLE") as caught:
            completed(make(server.url))
        assert SECRET in str(server.received[0].headers)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_an_unknown_model_is_the_operator_s_mistake(make: Make) -> None:
    with serving(Step(status=404)) as server, pytest.raises(UsageError, match="name of the model"):
        completed(make(server.url))


def test_a_key_that_a_server_repeats_is_struck_out(make: Make) -> None:
    body = {"error": {"message": f"what is {SECRET}?"}}
    assert SECRET not in str(troubled(make, Step(status=400, body=body)))
    assert SECRET not in repr(KEY)


def test_a_slow_drip_can_be_ended_at_any_moment(make: Make) -> None:
    async def impatient(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.complete(REQUEST)
        await client.close()

    with serving(Step("word " * 100, drip_s=0.05)) as server:
        asyncio.run(impatient(make(server.url)))


def sent(make: Make) -> tuple[Loopback, Mapping[str, Any]]:
    with serving(Step("ok")) as server:
        completed(make(server.url))
    return server, server.received[0].body


def test_openai_is_asked_to_keep_nothing_and_to_cache_the_beginning() -> None:
    _, body = sent(lambda url: ResponsesClient(openai, "m", KEY, f"{url}/v1"))
    assert body["store"] is False
    assert body["prompt_cache_key"] == REQUEST.cache_key
    assert body["instructions"] == "the system"
    assert [part["text"] for part in body["input"][0]["content"]] == ["the task", "the turn"]
    assert body["max_output_tokens"] == 500


def test_anthropic_s_cache_ends_behind_the_system_and_behind_the_task() -> None:
    _, body = sent(lambda url: MessagesClient(anthropic, "m", KEY, url))
    marked = {"type": "ephemeral"}
    assert [part["cache_control"] for part in body["system"]] == [marked]
    task, turn = body["messages"][0]["content"]
    assert (task["text"], task["cache_control"]) == ("the task", marked)
    assert turn == {"type": "text", "text": "the turn"}


def test_a_compatible_server_is_sent_nothing_optional_but_a_wish_for_counts() -> None:
    _, body = sent(lambda url: ChatClient(openai, "m", f"{url}/v1", None))
    assert set(body) == {"model", "messages", "stream", "max_tokens", "stream_options"}


@pytest.mark.parametrize(
    ("complaint", "gone", "there"),
    [("unknown field stream_options", "stream_options", "max_tokens"),
     ("use max_completion_tokens, not max_tokens", "max_tokens", "max_completion_tokens")],
)  # fmt: skip
def test_a_parameter_that_a_server_refuses_is_left_out_for_good(
    complaint: str, gone: str, there: str
) -> None:
    refusal = Step(status=400, body={"error": {"message": complaint}})

    async def twice(client: Client) -> None:
        assert (await client.complete(REQUEST)).text == "ok"
        assert (await client.complete(REQUEST)).text == "ok"
        await client.close()

    with serving(refusal, Step("ok")) as server:
        asyncio.run(twice(ChatClient(openai, "m", f"{server.url}/v1", None)))
        first, *later = (received.body for received in server.received)
    assert gone in first
    assert len(later) == 2
    assert all(gone not in body and there in body for body in later)


def test_tokens_that_nobody_counted_are_estimated_and_say_so() -> None:
    reply = answered(lambda url: ChatClient(openai, "m", f"{url}/v1", None), Step("x", usage=False))
    assert reply.tokens.estimated
    assert reply.tokens.input > 0
