"""The router of a mixture of experts in Triton: what matches, and that it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernelite.kernels.triton_templates.top_k_gating import TEMPLATE
from tests.kernels.emulation import accepted, graph_of
from tests.kernels.interpreting import computed

pytest.importorskip("triton")
INF = float("inf")


def mixtral(logits: Tensor) -> tuple[Tensor, Tensor]:
    shares = F.softmax(logits, dim=1, dtype=torch.float)
    weights, experts = torch.topk(shares, 3, dim=-1)
    weights /= weights.sum(dim=-1, keepdim=True)
    return weights.to(logits.dtype), experts


def not_normalised(logits: Tensor) -> tuple[Tensor, Tensor]:
    experts, weights = reversed(torch.topk(logits.float().softmax(-1), 3))
    return experts, weights * 2.5


def chosen_first(logits: Tensor) -> tuple[Tensor, Tensor]:
    weights, experts = torch.topk(logits, 3, dim=-1)
    return weights.softmax(-1), experts


def numbers_alone(logits: Tensor) -> Tensor:
    return logits.softmax(-1).topk(3)[1]


def stable(logits: Tensor) -> tuple[Tensor, Tensor]:
    ordered, experts = torch.sort(logits.softmax(-1), descending=True, stable=True)
    return ordered[..., :3].contiguous(), experts[..., :3].contiguous()


@pytest.mark.parametrize("function", [mixtral, not_normalised, chosen_first, numbers_alone, stable])
def test_every_spelling_chooses_and_weighs_as_torch_does(function: Callable[[Tensor], Any]) -> None:
    computed(TEMPLATE, function, [torch.randn(7, 60)])


@pytest.mark.parametrize("logits", [torch.randn(2, 3, 16), torch.randn(16, 6).T])
def test_tokens_may_have_several_axes_and_be_strided(logits: Tensor) -> None:
    computed(TEMPLATE, stable, [logits])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.stack([torch.randperm(40)[:20] for _ in range(5)]).to(dtype) / 8
    computed(TEMPLATE, mixtral, [logits])


def test_equal_experts_are_chosen_from_the_lowest_up() -> None:
    logits = torch.randint(0, 3, (30, 16)).float()
    computed(TEMPLATE, stable, [logits])


def test_a_row_with_a_nan_is_nan_and_the_others_are_not() -> None:
    logits = torch.randn(3, 8)
    logits[1, 5] = float("nan")
    weights, _ = computed(TEMPLATE, stable, [logits])
    assert weights.isnan().any(1).tolist() == [False, True, False]


def test_a_hidden_expert_is_chosen_last() -> None:
    logits = torch.randn(4, 3)
    logits[:, 1] = -INF
    weights, experts = computed(TEMPLATE, stable, [logits])
    assert experts[:, 2].eq(1).all()
    assert weights[:, 2].eq(0).all()


@pytest.mark.parametrize(("block", "num_warps"), [(1, 1), (4, 4), (16, 2)])
def test_the_open_parameters_change_no_result(block: int, num_warps: int) -> None:
    computed(TEMPLATE, mixtral, [torch.randn(9, 12)], block=block, num_warps=num_warps)


def other_axis(logits: Tensor) -> Any:
    return torch.topk(logits.softmax(0), 3)


def smallest(logits: Tensor) -> Any:
    return torch.topk(logits.softmax(-1), 3, largest=False)


def unordered(logits: Tensor) -> Any:
    return torch.topk(logits.softmax(-1), 3, sorted=False)


def other_sum(logits: Tensor) -> Any:
    weights, experts = torch.topk(logits.softmax(-1), 3)
    return weights / logits.sum(-1, keepdim=True), experts


def two_selections(logits: Tensor) -> Any:
    return logits.softmax(-1).topk(3)[0], (logits * 2).softmax(-1).topk(3)[1]


def from_the_second_on(logits: Tensor) -> Any:
    ordered = torch.sort(logits.softmax(-1), descending=True, stable=True)[0]
    return ordered[:, 1:4].contiguous()


def more_outputs(logits: Tensor) -> Any:
    shares = logits.softmax(-1)
    return (*shares.topk(3), shares)


@pytest.mark.parametrize(
    "function",
    [other_axis, smallest, unordered, other_sum, two_selections, from_the_second_on, more_outputs],
)
def test_graphs_that_only_look_alike_are_refused(function: Callable[[Tensor], Any]) -> None:
    assert TEMPLATE.match(graph_of(function, torch.randn(6, 8))) is None


def test_the_judge_accepts_it() -> None:
    accepted(TEMPLATE, "top_k_gating@small_7x60x4_bfloat16")
