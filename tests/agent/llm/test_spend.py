from __future__ import annotations

import pytest

from kernelite.agent.llm.exchange import Prompt, Request, Tokens
from kernelite.agent.llm.spend import (
    FREE,
    Exhausted,
    Ledger,
    Limits,
    ListPrice,
    Price,
    Worst,
    worst,
)

MOST = Worst(Tokens(input=100), 0.4, 1000, 1.0)


def test_cached_written_and_fresh_tokens_have_their_own_prices() -> None:
    price = Price(input=2.0, output=10.0, cached=0.5, cache_write=4.0)
    tokens = Tokens(input=1_000_000, cached=600_000, cache_written=100_000, output=50_000)
    assert price.usd(tokens) == pytest.approx(0.3 * 2 + 0.6 * 0.5 + 0.1 * 4 + 0.05 * 10)


def test_the_table_of_prices_knows_tokens_from_the_cache_and_needs_no_network() -> None:
    pytest.importorskip("genai_prices")
    price = ListPrice("anthropic", "claude-opus-4-5")  # 5, 0.5 cached and 25 dollars per million
    tokens = Tokens(input=1_000_000, cached=500_000, output=100_000)
    assert price.usd(tokens) == pytest.approx(2.5 + 0.25 + 2.5)


def test_the_price_of_an_unknown_model_is_unknown_and_not_zero() -> None:
    assert ListPrice("openai", "no-such-model").usd(Tokens(input=1)) is None
    assert FREE.usd(Tokens(input=10**9)) == 0.0


def test_the_worst_case_counts_every_byte_as_a_token_and_the_longest_answer() -> None:
    request = Request("p", "v", Prompt("ä" * 500, "b" * 500, "c"), 2000)
    price = Price(input=1.0, output=10.0, cached=0.1, cache_write=1.25)
    most = worst(request, price)
    assert most.prompt.input >= 1501
    assert most.tokens == most.prompt.input + 2000
    assert most.prompt_usd == pytest.approx(most.prompt.input * 1.25e-6)
    assert most.usd == pytest.approx(most.prompt.input * 1.25e-6 + 2000 * 10e-6)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(usd=2.5), "dollars for the run"),
        (Limits(kernel_usd=2.5), "dollars for this kernel"),
        (Limits(tokens=2500), "tokens for the run"),
        (Limits(kernel_tokens=2500), "tokens for this kernel"),
    ],
)
def test_what_is_in_flight_counts_in_full(limits: Limits, what: str) -> None:
    ledger = Ledger(limits)
    ledger.reserve("a", MOST)
    ledger.reserve("a", MOST)
    with pytest.raises(Exhausted, match=what):
        ledger.reserve("a", MOST)
    ledger.settle("a", MOST, 10, 0.01)
    ledger.reserve("a", MOST)


def test_a_kernel_s_limit_leaves_other_kernels_alone() -> None:
    ledger = Ledger(Limits(kernel_usd=1.0))
    ledger.reserve("a", MOST)
    with pytest.raises(Exhausted):
        ledger.reserve("a", MOST)
    ledger.reserve("b", MOST)


def test_a_budget_of_zero_allows_nothing_that_costs() -> None:
    with pytest.raises(Exhausted):
        Ledger(Limits(usd=0.0)).reserve("a", MOST)
    Ledger(Limits(usd=0.0)).reserve("a", Worst(Tokens(input=1), 0.0, 1, 0.0))


def test_what_was_spent_before_counts() -> None:
    ledger = Ledger(Limits(usd=2.0))
    ledger.charge("a", 10, 1.5)
    with pytest.raises(Exhausted, match=r"1\.5 are spent"):
        ledger.reserve("a", MOST)
