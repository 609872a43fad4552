"""Matrix products in Triton: what is fused with them, what is refused, and the judge's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates._gemm_tiles import HALVES, SINGLES, Tile
from kernelite.kernels.triton_templates.gemm import TEMPLATE
from kernelite.problems.problem import Problem
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
PROBLEM = """
import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    def forward(self, x, w, b):
        return {body}


def get_inputs():
    return [torch.randn(3, 5, 18).half(), torch.randn(18, 21).half(), torch.randn(21).half()]


def get_init_inputs():
    return []
"""
x, w, b = torch.randn(3, 5, 18), torch.randn(18, 21), torch.randn(21)


@pytest.mark.parametrize(
    "name", ["linear_residual@small_17x40x24_bfloat16", "bmm@small_3x17x33_float32"]
)
def test_the_judge_accepts_products_and_what_follows(name: str) -> None:
    accepted(TEMPLATE, name)


def test_the_parts_of_a_long_sum_are_joined() -> None:
    accepted(TEMPLATE, "linear_gelu@small_2x7x300_float32", split=4)


def test_several_steps_along_an_odd_depth_are_walked() -> None:
    tile = str(HALVES[-1])
    accepted(TEMPLATE, "gemm@small_33x18x40_float16", tile=tile, group=4)


@pytest.mark.parametrize(
    "body",
    [
        "torch.baddbmm(b, x, w.expand(3, 18, 21), beta=2, alpha=-0.5).sigmoid()",
        "F.silu(x[:, 1:] @ w) * torch.tanh(b)",
    ],
)
def test_every_way_to_write_and_view_a_product_is_read(body: str) -> None:
    problem = Problem("written", PROBLEM.format(body=body))
    found = verdict(problem, rendered(TEMPLATE, graph_for(problem)))
    assert found.passed, found.evaluation


def test_a_remainder_that_is_left_out_is_noticed() -> None:
    problem = named("gemm@small_33x18x40_float32")
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace("EVEN=K % depth == 0 and depth % block_k == 0", "EVEN=True")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


@pytest.mark.parametrize(
    ("function", "label"),
    [
        (lambda x, w, b: x @ w, "matmul"),
        (lambda x, w, b: F.linear(x, w.t(), b), "linear"),
        (lambda x, w, b: torch.addmm(b, x[0], w).relu() * x[0, :, :1], "addmm + relu + mul"),
        (lambda x, w, b: torch.einsum("bsk,kn->bsn", x, w), "einsum"),
        (lambda x, w, b: F.gelu((x @ w + b).float()).half(), "matmul + add + gelu"),
    ],
)
def test_what_follows_a_product_is_part_of_its_kernel(
    function: Callable[..., Tensor], label: str
) -> None:
    plan = TEMPLATE.match(graph_of(function, x.half(), w.half(), b.half()))
    assert plan is not None
    assert plan.label == label
    assert len(plan.stages) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b: x + 1,
        lambda x, w, b: x.exp() @ w,
        lambda x, w, b: (x @ w).softmax(-1),
        lambda x, w, b: (x @ w).sum(-1),
        lambda x, w, b: (x @ w) @ w.T,
        lambda x, w, b: (x @ w) + (x.flip(1) @ w),
        lambda x, w, b: (x @ w)[:, ::2],
        lambda x, w, b: (x @ w).transpose(0, 1),
        lambda x, w, b: x.double() @ w.double(),
        lambda x, w, b: torch.cumsum(x @ w, -1),
        lambda x, w, b: (x @ w, x + 1),
    ],
)
def test_what_is_no_product_with_elements_that_go_their_own_ways_is_refused(
    function: Callable[..., Tensor],
) -> None:
    assert TEMPLATE.match(graph_of(function, x, w, b)) is None


def test_operands_of_two_types_are_refused() -> None:
    function = lambda x, w: x.float() @ w  # noqa: E731
    assert TEMPLATE.match(graph_of(function, x.half(), w)) is None


def test_a_large_product_begins_with_a_large_tile_and_a_thin_one_with_a_split() -> None:
    meta = {"device": "meta", "dtype": torch.float16}
    product = lambda x, w: x @ w  # noqa: E731
    large = TEMPLATE.match(
        graph_of(product, torch.zeros(4096, 4096, **meta), torch.zeros(4096, 4096, **meta))
    )
    thin = TEMPLATE.match(
        graph_of(product, torch.zeros(4, 8192, **meta), torch.zeros(8192, 512, **meta))
    )
    assert large is not None
    assert thin is not None
    assert (large.space["tile"][0], large.space["split"]) == (str(HALVES[0]), (1,))
    assert Tile.parsed(str(thin.space["tile"][0])).rows == 16
    assert int(thin.space["split"][0]) > 1


def test_each_tile_has_a_name_of_its_own() -> None:
    every = {*HALVES, *SINGLES}
    assert {Tile.parsed(str(tile)) for tile in every} == every
