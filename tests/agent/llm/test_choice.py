from __future__ import annotations

from pathlib import Path

import pytest

from kernelite.agent.llm.choice import choose
from kernelite.agent.llm.spend import FREE, Limits, Price
from kernelite.errors import UsageError

LOCAL = "compatible:qwen3:8b@http://127.0.0.1:1/v1"


def refusal(llm: str, budget: str = "", price: str = "", **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        choose(llm, budget, price, "all", environment)
    return str(caught.value)


def test_several_models_have_weights_and_the_budget_that_was_typed(tmp_path: Path) -> None:
    llm = f"files:{tmp_path / 'a'}=3, files:{tmp_path / 'b'}"
    found = choose(llm, "usd=5, tokens=1000,kernel-usd=0.5,kernel-tokens=10", "", "all", {})
    assert [(model.provider, model.weight) for model in found.models] == [
        ("files", 3),
        ("files", 1),
    ]
    assert [model.tariff for model in found.models] == [FREE, FREE]
    assert found.limits == Limits(5.0, 1000, 0.5, 10)


def test_none_is_no_model_and_needs_no_key() -> None:
    assert choose("none", "", "", "all", {}).models == ()


def test_a_model_without_a_price_needs_one_or_a_limit_of_tokens() -> None:
    pytest.importorskip("openai")
    assert "the price of compatible:qwen3:8b" in refusal(LOCAL)
    assert "unknown" in refusal(LOCAL, "usd=5")
    assert choose(LOCAL, "tokens=10", "", "all", {}).limits == Limits(tokens=10)
    (model,) = choose(LOCAL, "", "in=1,out=4,cached=0.5", "all", {}).models
    assert model.name == "qwen3:8b@http://127.0.0.1:1/v1"
    assert model.tariff == Price(input=1.0, output=4.0, cached=0.5, cache_write=1.0)


def test_a_paid_model_without_a_budget_has_one_of_two_dollars() -> None:
    pytest.importorskip("openai")
    found = choose("openai:gpt-5", "", "in=1,out=2", "all", {"OPENAI_API_KEY": "sk-0123456789"})
    assert found.limits == Limits(usd=2.0)


def test_openai_s_key_is_not_for_other_servers() -> None:
    pytest.importorskip("openai")
    environment = {"OPENAI_API_KEY": "sk-0123456789", "HOME": "/nowhere"}
    (model,) = choose(LOCAL, "tokens=10", "", "all", environment).models
    assert model.client.key is None


@pytest.mark.parametrize(
    ("llm", "budget", "price", "said"),
    [
        ("openai", "", "", "type PROVIDER:MODEL"),
        ("files:", "", "", "names no model"),
        ("nobody:m", "", "", "there are: anthropic, compatible"),
        ("compatible:m", "", "", "names no server"),
        ("files:x", "usd", "", "'usd' is none of usd=NUMBER"),
        ("files:x", "usd=-1", "", "none of"),
        ("files:x", "euros=1", "", "none of usd=NUMBER, tokens=NUMBER"),
        ("files:x", "", "in=1", "lacks in or out"),
        ("files:x", "", "in=nan,out=1", "none of in=NUMBER"),
    ],
)
def test_what_cannot_be_read_says_what_to_type(
    llm: str, budget: str, price: str, said: str
) -> None:
    pytest.importorskip("openai")
    assert said in refusal(llm, budget, price)


def test_a_provider_without_a_key_says_where_it_goes(tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    assert "set ANTHROPIC_API_KEY" in refusal("anthropic:m", HOME=str(tmp_path))


def test_models_write_only_what_there_is_a_guide_for(tmp_path: Path) -> None:
    assert choose(f"files:{tmp_path}", "", "", "all", {}).backend == "cpp"
    assert choose(f"files:{tmp_path}", "", "", "triton", {}).backend == "triton"
    with pytest.raises(UsageError, match=r"--backend may be: cpp, triton"):
        choose(f"files:{tmp_path}", "", "", "pytorch", {})
