from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest
import torch

from kernelite.agent.proposers import Proposer
from kernelite.agent.proposers.library import PROPOSER
from kernelite.kernels.backends import backend
from kernelite.problems.problem import Problem, instantiate

ONEDNN = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="PyTorch without oneDNN"
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def problem(body: str, inputs: str, names: str = "q, k, v") -> Problem:
    """A problem with this forward and these inputs, and a linear layer of 8 by 8 in it."""
    body = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return Problem("p", f"""
import math
import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, {names}):
{body}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
""")  # fmt: skip


def proposed(one: Problem) -> dict[str, str]:
    """Sources by label, each checked to compute what the problem says."""
    instance, found = instantiate(one, 3), {}
    for plan in PROPOSER.propose(one):
        kernel = plan.render({})
        pytorch = backend(kernel.backend)
        entry = pytorch.load(kernel, pytorch.build(kernel), instance.signature)
        outputs = zip(entry(instance.arguments), instance.run(), strict=True)
        for result, wanted in outputs:
            torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)
        found[plan.label] = kernel.source
    return found


QKV = "torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8)"
ATTENTION = "scaled_dot_product_attention"


def attention(scores: str, extra: str = "") -> dict[str, str]:
    body = f"s = {scores}\nreturn torch.softmax(s, -1) @ v"
    names = "q, k, v" + (", m" if extra else "")
    return proposed(problem(body, QKV + (f", {extra}" if extra else ""), names))


def test_it_is_a_proposer() -> None:
    assert isinstance(PROPOSER, Proposer)


@pytest.mark.parametrize(
    "scores",
    ["q @ k.transpose(-2, -1)", "q @ k.transpose(-2, -1) * 0.3", "q @ k.mT / math.sqrt(8)",
     "torch.matmul(q * 0.3, k.transpose(-2, -1))"],
)  # fmt: skip
def test_attention_written_out_is_the_fused_operator(scores: str) -> None:
    assert ATTENTION in attention(scores)


@pytest.mark.parametrize(
    ("scores", "mask"),
    [
        ("q @ k.mT * 0.3 + m", "torch.randn(6, 6)"),
        ("q @ k.mT * 0.3 + m", "torch.full((6, 6), -math.inf).triu(1)"),
        ("(q @ k.mT * 0.3).masked_fill(m, -math.inf)", "torch.ones(6, 6).triu(1) > 0"),
    ],
)
def test_a_mask_among_the_inputs_is_passed_on(scores: str, mask: str) -> None:
    assert ATTENTION in attention(scores, mask)


def test_a_scale_behind_the_mask_is_never_forgotten() -> None:
    attention("(q @ k.mT + m) * 0.3", "torch.randn(6, 6)")


def test_a_causal_mask_made_in_the_model_becomes_the_causal_flag() -> None:
    hidden = "torch.ones(6, 6, dtype=torch.bool).triu(1)"
    source = attention(f"(q @ k.mT * 0.3).masked_fill({hidden}, -math.inf)")[ATTENTION]
    assert "None, 0.0, True" in source


def test_a_mask_that_is_nearly_causal_is_no_causal_flag() -> None:
    hidden = "torch.ones(6, 6, dtype=torch.bool).triu(2)"
    found = attention(f"(q @ k.mT * 0.3).masked_fill({hidden}, -math.inf)")
    assert all("0.0, True" not in source for source in found.values())


@pytest.mark.parametrize(
    "scores",
    [
        "(q @ k.mT).masked_fill(q @ k.mT > 0, -1.0)",
        "(q @ k.mT).relu()",
        "(q @ k.mT) * q[..., :1]",
        "2.0 / (q @ k.mT).exp()",
        "(1.0 - q @ k.mT)",
        "torch.add(q @ k.mT, q @ k.mT, alpha=2)",
    ],
)
def test_scores_that_the_operator_cannot_make_are_left_alone(scores: str) -> None:
    assert ATTENTION not in attention(scores)


def test_a_mask_that_is_multiplied_when_added_is_right() -> None:
    attention("torch.add(q @ k.mT, m, alpha=2)", "torch.randn(6, 6)")


def test_a_softmax_over_another_axis_is_no_attention() -> None:
    body = "return torch.softmax(q @ k.mT, -2) @ v"
    assert ATTENTION not in proposed(problem(body, QKV))


@ONEDNN
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_a_linear_and_its_activation_are_one_call(activation: str) -> None:
    found = proposed(problem(f"return F.{activation}(self.layer(x))", "torch.randn(5, 8)", "x"))
    assert any(
        "_linear_pointwise" in source and f"aten.{activation}" not in source
        for source in found.values()
    )


@ONEDNN
def test_gelu_with_tanh_keeps_its_formula() -> None:
    body = "return F.gelu(self.layer(x), approximate='tanh')"
    assert proposed(problem(body, "torch.randn(5, 8) * 3", "x"))


@ONEDNN
def test_a_plain_linear_is_proposed_too() -> None:
    assert "oneDNN linear" in proposed(problem("return self.layer(x)", "torch.randn(5, 8)", "x"))


def test_a_linear_in_another_precision_is_left_alone() -> None:
    body = "return F.linear(x, self.layer.weight.double())"
    assert proposed(problem(body, "torch.randn(5, 8).double()", "x")) == {}


def test_rows_weighted_and_summed_are_an_embedding_bag() -> None:
    body = "return (F.embedding(i, t) * w).sum(1)"
    inputs = "torch.randint(9, (4, 3)), torch.randn(9, 5), torch.rand(4, 3, 1)"
    assert "embedding_bag" in proposed(problem(body, inputs, "i, t, w"))


def test_a_bag_may_be_indexed() -> None:
    body = "return (t[i] * w).sum(-2)"
    inputs = "torch.randint(9, (4, 3)), torch.randn(9, 5), torch.rand(4, 3, 1)"
    assert "embedding_bag" in proposed(problem(body, inputs, "i, t, w"))


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("return (F.embedding(i, t) * w).sum(1)", "torch.rand(3, 1)"),
        ("return (F.embedding(i, t) * w).sum(1, keepdim=True)", "torch.rand(4, 3, 1)"),
        ("return (F.embedding(i, t) * w).sum(1)", "torch.rand(4, 1, 1)"),
        ("return (F.embedding(i, t) * w).sum(1, dtype=torch.float64)", "torch.rand(4, 3, 1)"),
    ],
)
def test_whatever_is_proposed_for_odd_bags_is_right(body: str, weights: str) -> None:
    inputs = f"torch.randint(9, (4, 3)), torch.randn(9, 5), {weights}"
    proposed(problem(body, inputs, "i, t, w"))


def test_nothing_is_proposed_where_nothing_is_known() -> None:
    assert proposed(problem("return x.exp() + 1", "torch.randn(4)", "x")) == {}


def test_nothing_is_proposed_for_what_cannot_be_traced() -> None:
    body = "return F.relu(self.layer(x)) if x.sum() > 0 else x"
    assert PROPOSER.propose(problem(body, "torch.randn(5, 8)", "x")) == []
