"""A head and its loss in Triton: what matches, and the judge's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates.linear_cross_entropy import TEMPLATE
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
hidden, weight = torch.randn(2, 3, 8).half(), torch.randn(11, 8).half()
labels = torch.randint(11, (2, 3))


def test_the_judge_accepts_parts_of_the_vocabulary() -> None:
    accepted(TEMPLATE, "linear_cross_entropy@small_2x3x150_bfloat16", parts=2)


def test_a_part_of_the_vocabulary_that_is_left_out_is_noticed() -> None:
    problem = named("linear_cross_entropy@small_3x17x30_float32")
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace("range(begin, end, BLOCK_N)", "range(begin, end - BLOCK_N, BLOCK_N)")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


def flattened(h: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(h, w).float().view(-1, 11), y.view(-1), reduction="sum")


def gathered(h: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return -torch.log_softmax((h @ w.t()).float(), -1).gather(-1, y[..., None]).squeeze(-1)


@pytest.mark.parametrize(("function", "kind"), [(flattened, "sum"), (gathered, "none")])
def test_losses_of_logits_are_found_in_their_spellings(
    function: Callable[..., Tensor], kind: str
) -> None:
    plan = TEMPLATE.match(graph_of(function, hidden, weight, labels))
    assert plan is not None
    assert plan.label == f"linear + cross_entropy ({kind})"
    assert plan.hidden.layout.shape == (6, 8)


@pytest.mark.parametrize(
    "function",
    [
        lambda h, w, y: F.linear(h, w),
        lambda h, w, y: F.cross_entropy(h.view(-1, 8), y.view(-1)),
        lambda h, w, y: flattened(h, w, y) + F.linear(h, w).sum(),
        lambda h, w, y: flattened(h.exp(), w, y),
        lambda h, w, y: (flattened(h, w, y), F.linear(h, w)),
        lambda h, w, y: F.cross_entropy(F.linear(h, w)[:, 0], y[:, 0]),
        lambda h, w, y: F.cross_entropy(F.linear(h, w, w[:, 0]).view(-1, 11), y.view(-1)),
    ],
)
def test_logits_that_are_needed_elsewhere_or_changed_are_refused(
    function: Callable[..., Tensor],
) -> None:
    assert TEMPLATE.match(graph_of(function, hidden, weight, labels)) is None
