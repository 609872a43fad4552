"""Products with weights made of codes: what is read as such, and the judge's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates.dequantised_gemm import TEMPLATE
from kernelite.kernels.triton_templates.gemm import TEMPLATE as GEMM
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
N, K, GROUP = 6, 32, 8
x = torch.randn(2, 3, K, dtype=torch.float16)
packed = torch.randint(256, (N, K // 2), dtype=torch.uint8)
scale, zero = (torch.rand(N, K // GROUP, dtype=torch.float16) for _ in range(2))


def codes(q: Tensor) -> Tensor:
    return torch.stack((q & 15, q >> 4), -1).reshape(q.shape[0], -1)


def repeated(x: Tensor, q: Tensor, s: Tensor, z: Tensor) -> Tensor:
    weight = (codes(q).to(x.dtype) - z.repeat_interleave(GROUP, 1)) * s.repeat_interleave(GROUP, 1)
    return F.linear(x, weight)


def packed_zeros(x: Tensor, q: Tensor, s: Tensor, z: Tensor) -> Tensor:
    zeros = codes(q[: N // 2, : K // GROUP].t()).t()
    grouped = codes(q).half().view(N, -1, GROUP) - zeros.half()[:, :, None]
    return x @ (grouped * s[..., None]).view(N, K).t()


@pytest.mark.parametrize(
    "name",
    ["dequantised_gemm@small_3x17x32_bfloat16", "int8_gemm@small_3x17x33_float32"],
)
def test_the_judge_accepts_four_bits_and_eight(name: str) -> None:
    accepted(TEMPLATE, name)


def test_groups_may_be_shared_out_among_programs() -> None:
    accepted(TEMPLATE, "dequantised_gemm@small_2x7x128_float16", split=4)


@pytest.mark.parametrize("function", [repeated, packed_zeros])
def test_scales_and_zeros_are_those_of_the_group(function: Callable[..., Tensor]) -> None:
    plan = TEMPLATE.match(graph_of(function, x, packed, scale, zero))
    assert plan is not None
    assert plan.label == "dequantised gemm (int4)"
    assert (plan.codes.groups, plan.codes.levels, plan.codes.parts) == (K // GROUP, GROUP // 2, 2)


def test_the_upper_half_of_a_byte_is_the_odd_weight() -> None:
    problem = named("dequantised_gemm@small_3x17x32_float32")
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace(">> (4)", ">> (0)")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


@pytest.mark.parametrize(
    "function",
    [
        lambda x, q, s, z: x @ x.transpose(1, 2),
        lambda x, q, s, z: F.linear(x, torch.cat((q & 15, q >> 4), 1).half()),
        lambda x, q, s, z: F.linear(x, torch.stack((q >> 4, q & 15), -1).view(N, K).half()),
        lambda x, q, s, z: F.linear(x, torch.stack((q & 7, q >> 4), -1).view(N, K).half()),
        lambda x, q, s, z: F.linear(x, (codes(q) - 8).half()),
        lambda x, q, s, z: F.linear(x, codes(q).half().exp()),
        lambda x, q, s, z: F.linear(x, codes(q).half()).softmax(-1),
    ],
)
def test_codes_that_mean_something_else_are_refused(function: Callable[..., Tensor]) -> None:
    assert TEMPLATE.match(graph_of(function, x, packed, scale, zero)) is None


def test_no_other_template_takes_codes_for_numbers() -> None:
    assert GEMM.match(graph_of(repeated, x, packed, scale, zero)) is None
