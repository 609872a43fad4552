"""Cross entropy in Triton: what matches, and the judge's word on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates.cross_entropy import TEMPLATE
from kernelite.problems.problem import Problem
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
SHIFTED = """
import torch


class Model(torch.nn.Module):
    def forward(self, x, y):
        x, y = x[:, :-1].float(), y[:, 1:]
        return {loss}


def get_inputs():
    return [torch.randn(2, 4, 19).to(torch.{dtype}), torch.randint(19, (2, 4))]


def get_init_inputs():
    return []
"""
NEXT_TOKEN = "torch.nn.functional.cross_entropy(x.reshape(-1, 19), y.reshape(-1), reduction='sum')"
BY_TOKEN = "-torch.log_softmax(x / 0.7, -1).gather(-1, y.unsqueeze(-1)).squeeze(-1)"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_judge_accepts_every_dtype(dtype: str) -> None:
    accepted(TEMPLATE, f"cross_entropy@small_3x17_{dtype}")


def test_parts_of_a_row_are_joined() -> None:
    accepted(TEMPLATE, "cross_entropy@small_16x100_float16", block=16, rows=4, parts=2)


@pytest.mark.parametrize(("loss", "dtype"), [(NEXT_TOKEN, "bfloat16"), (BY_TOKEN, "float32")])
def test_rows_may_be_a_part_of_the_logits(loss: str, dtype: str) -> None:
    problem = Problem("shifted", SHIFTED.format(loss=loss, dtype=dtype))
    found = verdict(problem, rendered(TEMPLATE, graph_for(problem)))
    assert found.passed, found.evaluation


def test_a_label_that_counts_though_it_is_to_be_ignored_is_noticed() -> None:
    problem = named("cross_entropy@small_16x100_float32")
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace("ignored=-100", "ignored=-1")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


def test_the_kernel_opens_with_its_arithmetic() -> None:
    source = rendered(TEMPLATE, graph_for(named("cross_entropy@small_16x100_bfloat16"))).source
    assert source.startswith("# cross_entropy (mean) of 16 x 100 logits\n# 3,332 bytes, 6,400")


def test_long_rows_that_are_few_are_cut_into_parts() -> None:
    x, y = torch.zeros(4, 65536), torch.zeros(4, dtype=torch.int64)
    few = TEMPLATE.match(graph_of(F.cross_entropy, x, y))
    many = TEMPLATE.match(graph_of(F.cross_entropy, x[:1].expand(512, -1), y.repeat(128)))
    assert few is not None
    assert many is not None
    assert few.space["parts"][0] == 16
    assert many.space["parts"][0] == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
        lambda x, y: F.cross_entropy(x, x.softmax(-1)),
        lambda x, y: F.cross_entropy(x, y, weight=torch.ones(9)),
        lambda x, y: F.cross_entropy(x.exp(), y),
        lambda x, y: torch.log_softmax(x, -1),
    ],
)
def test_what_is_more_than_a_plain_cross_entropy_is_refused(
    function: Callable[..., Tensor],
) -> None:
    x, y = torch.randn(5, 9, dtype=torch.float16), torch.randint(9, (5,))
    assert TEMPLATE.match(graph_of(function, x, y)) is None
