"""Gradients in Triton, of losses and of linear layers: what matches, and the judge's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.templates import Template
from kernelite.kernels.triton_templates.cross_entropy_backward import TEMPLATE as LOSS
from kernelite.kernels.triton_templates.gemm import TEMPLATE as GEMM
from kernelite.kernels.triton_templates.linear_cross_entropy_backward import TEMPLATE as HEAD
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
aten = torch.ops.aten
logits, labels, grad = torch.randn(6, 9).half(), torch.randint(9, (6,)), torch.randn(6)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (LOSS, "cross_entropy_backward@small_3x17_bfloat16"),
        (GEMM, "gemm_backward@small_3x17x23_float16"),
        (HEAD, "linear_cross_entropy_backward@small_3x17x30_float32"),
    ],
)
def test_the_judge_accepts_gradients(template: Template, name: str) -> None:
    accepted(template, name)


def test_a_chunk_is_a_part_of_the_vocabulary() -> None:
    accepted(HEAD, "linear_cross_entropy_backward@small_3x17x30_float16", chunk=16)


def test_a_row_that_is_ignored_and_counts_nevertheless_is_noticed() -> None:
    problem = named("cross_entropy_backward@small_16x100_float32")
    right = rendered(LOSS, graph_for(problem)).source
    wrong = right.replace("ignored=-100", "ignored=-1")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


def test_the_bias_gets_the_sum_over_rows_of_the_gradient() -> None:
    function = lambda x, g: (g.t() @ x, g.sum((0,)) * 1.0)  # noqa: E731
    assert GEMM.match(graph_of(function, torch.randn(5, 8), torch.randn(5, 9))) is None
    function = lambda x, g: (g.t() @ x, (2 * g).sum((0,)))  # noqa: E731
    plan = GEMM.match(graph_of(function, torch.randn(5, 8), torch.randn(5, 9)))
    assert plan is not None
    assert plan.stages[1].epilogue.text == "    return products[0] * 2.0\n"


def gradient(x: Tensor, y: Tensor, g: Tensor, reduction: int = 0, ignored: int = -100) -> Tensor:
    normal = torch.log_softmax(x.float(), -1)
    _, count = aten.nll_loss_forward(normal, y, None, reduction, ignored)
    chosen = aten.nll_loss_backward(g, normal, y, None, reduction, ignored, count)
    found: Tensor = aten._log_softmax_backward_data(chosen, normal, -1, torch.float32)
    return found


def test_each_row_may_have_a_gradient_of_its_own() -> None:
    plan = LOSS.match(graph_of(gradient, logits, labels, grad))
    assert plan is not None
    assert plan.label == "cross_entropy backward (none)"


def miscounted(x: Tensor, y: Tensor, g: Tensor) -> Tensor:
    normal = torch.log_softmax(x.float(), -1)
    _, count = aten.nll_loss_forward(normal, y, None, 1, 3)
    chosen = aten.nll_loss_backward(g[0], normal, y, None, 1, -100, count)
    found: Tensor = aten._log_softmax_backward_data(chosen, normal, -1, torch.float32)
    return found


@pytest.mark.parametrize(
    "function",
    [
        miscounted,
        lambda x, y, g: gradient(x, y, g).exp(),
        lambda x, y, g: gradient(x.exp(), y, g),
        lambda x, y, g: gradient(x, y, g).t(),
        lambda x, y, g: (gradient(x, y, g), x + 1),
    ],
)
def test_what_is_not_just_the_gradient_of_a_loss_is_refused(
    function: Callable[..., Tensor],
) -> None:
    assert LOSS.match(graph_of(function, logits, labels, grad)) is None


def head(h: Tensor, w: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    slopes = gradient(h @ w.t(), y, g).to(h.dtype)
    return slopes.t() @ h, slopes @ w


def other_weight(h: Tensor, w: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    slopes = gradient(h @ w.t(), y, g).to(h.dtype)
    return slopes.t() @ h, slopes @ w.flip(0)


def test_the_gradients_of_a_head_come_in_the_order_of_the_outputs() -> None:
    inputs = torch.randn(6, 8).half(), torch.randn(9, 8).half(), labels, grad
    plan = HEAD.match(graph_of(head, *inputs))
    assert plan is not None
    assert plan.results == ("into_weight", "into_hidden")
    assert HEAD.match(graph_of(other_weight, *inputs)) is None
