"""Gradients of attention in Triton: what matches, and that they are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates.attention_backward import TEMPLATE
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict
from tests.kernels.interpreting import computed

pytest.importorskip("triton")
INF = float("inf")
Gradients = Callable[[Tensor, Tensor, Tensor, Tensor], Any]


def gradients(
    scores: Tensor, q: Tensor, k: Tensor, v: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    weights = scores.softmax(-1)
    slopes = grad @ v.mT
    total = (slopes * weights).sum(-1, keepdim=True)
    inner = (slopes - total) * weights
    return inner @ k * 0.3, 0.3 * (inner.mT @ q), weights.mT @ grad


def plain(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    return gradients(q @ k.mT * 0.3, q, k, v, grad)


def causal(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    into_q, into_k, into_v = gradients((q @ k.mT * 0.3).masked_fill(hidden, -INF), q, k, v, grad)
    return into_v, into_q, into_k


def window(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    scores = torch.where(seen.tril().triu(-7), q @ k.mT * 0.3, -INF)
    return gradients(scores, q, k, v, grad)


def tensors(queries: int, keys: int, columns: int, dtype: torch.dtype) -> list[Tensor]:
    shapes = [(1, 2, n, columns) for n in (queries, keys, keys, queries)]
    return [torch.randn(*shape).to(dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("function", "queries", "keys", "dtype"),
    [(plain, 9, 40, torch.float32), (causal, 37, 37, torch.float16),
     (window, 41, 41, torch.bfloat16), (causal, 20, 33, torch.float32)],
)  # fmt: skip
def test_every_mask_has_gradients_as_exact_as_torchs(
    function: Gradients, queries: int, keys: int, dtype: torch.dtype
) -> None:
    computed(TEMPLATE, function, tensors(queries, keys, 12, dtype))


def test_they_are_what_autograd_computes() -> None:
    q, k, v, grad = tensors(21, 21, 8, torch.float32)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    hidden = torch.ones(21, 21, dtype=torch.bool).triu(1)
    scores = (leaves[0] @ leaves[1].mT * 0.3).masked_fill(hidden, -INF)
    (scores.softmax(-1) @ leaves[2]).backward(grad)
    into_v, into_q, into_k = computed(TEMPLATE, causal, [q, k, v, grad])
    for own, leaf in zip((into_q, into_k, into_v), leaves, strict=True):
        torch.testing.assert_close(own, leaf.grad, rtol=1e-4, atol=1e-5)


def test_a_nan_in_a_query_reaches_keys_that_it_does_not_see_as_in_a_softmax() -> None:
    inputs = tensors(40, 40, 8, torch.float32)
    inputs[0][0, 0, 3, 2] = float("nan")
    into_v, _, into_k = computed(TEMPLATE, causal, inputs, block_m=16, block_n=16)
    assert into_v[0, 0].isnan().all()
    assert into_k[0, 0].isnan().all()
    assert not into_v[0, 1].isnan().any()


@pytest.mark.parametrize(("block_m", "block_n"), [(32, 16), (16, 32)])
def test_the_open_parameters_change_no_result(block_m: int, block_n: int) -> None:
    computed(TEMPLATE, window, tensors(50, 50, 8, torch.float32), block_m=block_m, block_n=block_n)


def without_the_mean(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    weights = (q @ k.mT).softmax(-1)
    inner = weights * (grad @ v.mT)
    return inner @ k, inner.mT @ q, weights.mT @ grad


def other_keys(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    into_q, into_k, into_v = gradients(q @ k.mT, q, v, v, grad)
    return into_q, into_k, into_v


def two_of_them(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    return plain(q, k, v, grad)[:2]


def mean_over_queries(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    weights, slopes = (q @ k.mT).softmax(-1), grad @ v.mT
    inner = weights * (slopes - (weights * slopes).sum(-2, keepdim=True))
    return inner @ k, inner.mT @ q, weights.mT @ grad


def hidden_softly(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Any:
    hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    return gradients((q @ k.mT).masked_fill(hidden, -3.0), q, k, v, grad)


@pytest.mark.parametrize(
    "function", [without_the_mean, other_keys, two_of_them, mean_over_queries, hidden_softly]
)
def test_graphs_that_only_look_alike_are_refused(function: Gradients) -> None:
    assert TEMPLATE.match(graph_of(function, *tensors(8, 8, 8, torch.float32))) is None


def test_the_judge_accepts_them_and_notices_a_key_that_is_left_out() -> None:
    name = "attention_backward@small_full_1x1x33x3x12_float16"
    accepted(TEMPLATE, name)
    problem = named(name)
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace("keys=3,", "keys=2,")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed
