"""Feed-forward blocks in Triton: what makes one, and the judge's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.triton_templates.fused_mlp import TEMPLATE
from kernelite.kernels.triton_templates.gemm import TEMPLATE as GEMM
from tests.kernels.emulation import accepted, graph_for, graph_of, named, rendered, verdict

pytest.importorskip("triton")
x, gate, up, down = (torch.randn(*s).bfloat16() for s in ((2, 3, 8), (12, 8), (12, 8), (8, 12)))


@pytest.mark.parametrize("name", ["fused_mlp@small_3x17x9_float16", "mlp@small_3x17x9_float32"])
def test_the_judge_accepts_blocks_with_and_without_a_gate(name: str) -> None:
    accepted(TEMPLATE, name)


def test_a_hidden_state_without_its_activation_is_noticed() -> None:
    problem = named("fused_mlp@small_3x17x9_float32")
    right = rendered(TEMPLATE, graph_for(problem)).source
    wrong = right.replace("_silu(products[0])", "products[0]")
    assert wrong != right
    assert not verdict(problem, Kernel("triton", wrong)).passed


@pytest.mark.parametrize(
    ("function", "label", "rights"),
    [
        (lambda x, g, u, d: (F.gelu(x @ g.t()) * (x @ u.t())) @ d.t(), "gated mlp", 2),
        (lambda x, g, u, d: F.linear(F.relu(F.linear(x, g)).square(), d), "mlp", 1),
        (lambda x, g, u, d: x + F.linear(F.silu(F.linear(x, g)), d), "mlp", 1),
    ],
)
def test_gate_and_up_share_a_launch(
    function: Callable[..., Tensor], label: str, rights: int
) -> None:
    plan = TEMPLATE.match(graph_of(function, x, gate, up, down))
    assert plan is not None
    assert plan.label == label
    assert [len(stage.rights) for stage in plan.stages] == [rights, 1]
    assert {"tile", "tile2", "split", "split2"} <= set(plan.space)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, g, u, d: F.linear(x, g),
        lambda x, g, u, d: F.linear(F.linear(x, g).softmax(-1), d),
        lambda x, g, u, d: F.linear(F.linear(x, g) * F.linear(x + 1, u), d),
        lambda x, g, u, d: F.linear(F.linear(F.linear(x, g), d), u),
        lambda x, g, u, d: (F.linear(F.linear(x, g), d), F.linear(x, g)),
    ],
)
def test_what_is_no_block_is_refused(function: Callable[..., Tensor]) -> None:
    graph = graph_of(function, x, gate, up, down)
    assert TEMPLATE.match(graph) is None


def test_a_block_is_not_a_product() -> None:
    function = lambda x, g, u, d: F.linear(F.linear(x, g), d)  # noqa: E731
    assert GEMM.match(graph_of(function, x, gate, up, down)) is None
