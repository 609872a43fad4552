from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from kernelite.kernels.backends import backend
from kernelite.kernels.cpp_templates.loops import TEMPLATE, LoopsPlan
from kernelite.kernels.templates import Choice
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Signature, flat_tensors
from kernelite.problems.tensors import specs

NAN, INF = float("nan"), float("inf")


class Model(nn.Module):
    """A function of tensors and of two parameters of one row's length."""

    def __init__(self, function: Callable[..., Any], columns: int = 1) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(columns, generator=generator), requires_grad=False)
        self.b = nn.Parameter(torch.randn(columns, generator=generator), requires_grad=False)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def planned(model: nn.Module, inputs: Sequence[Tensor]) -> LoopsPlan | None:
    return TEMPLATE.match(flat_graph(model.eval(), inputs))


def computed(model: nn.Module, inputs: Sequence[Tensor], **choices: Choice) -> list[Tensor]:
    """The outputs of the compiled kernel, checked to look as the reference's do."""
    plan = planned(model, inputs)
    assert plan is not None
    kernel = plan.render(choices)
    cpp, wanted = backend("cpp"), flat_tensors(model(*inputs))
    signature = Signature(specs(wanted), (), tuple(model.state_dict()), ())
    entry = cpp.load(kernel, cpp.build(kernel), signature)
    found = entry([*inputs, *model.state_dict().values()])
    assert specs(found) == specs(wanted)
    return found


def check(model: nn.Module, inputs: Sequence[Tensor], **choices: Choice) -> None:
    """The kernel's error against float64 is within 8 of torch's own."""
    found = computed(model, inputs, **choices)
    exact = pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, list(inputs))
    truth = flat_tensors(copy.deepcopy(model).double()(*exact))
    for mine, right, torchs in zip(found, truth, flat_tensors(model(*inputs)), strict=True):
        finite = right.isfinite()
        assert torch.equal(mine.isnan(), right.isnan())
        own = (torchs.double() - right)[finite].abs().max() if finite.any() else 0.0
        error = (mine.double() - right)[finite].abs().max() if finite.any() else 0.0
        assert error <= 8 * own + 1e-7


def rotated(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def interleaved(x: Tensor) -> Tensor:
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def causal(model: Model, x: Tensor) -> Tensor:
    columns = torch.arange(x.shape[-1])
    return F.softmax(x.masked_fill(columns[None] > columns[:, None], -INF), -1)


def add_norm(model: Model, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    return total, F.rms_norm(total, total.shape[-1:], model.w, 1e-6)


def rms(model: Model, x: Tensor) -> Tensor:
    return x.float() * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * model.w


def statistics(model: Model, x: Tensor) -> tuple[Tensor, ...]:
    return x.sum(-1), x.mean(-1), x.amax(-1), x.min(-1).values, x.var(-1), (x * x).sum(-1)


def rotary(model: Model, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return q * cos + rotated(q) * sin, k * cos + interleaved(k) * sin


ROWS = {
    "rms_norm": (rms, [random(3, 5, 1000)]),
    "add + rms_norm": (add_norm, [random(6, 100), random(6, 100) + 1]),
    "layer_norm": (lambda m, x: F.layer_norm(x, (77,), m.w, m.b), [random(4, 77) + 100]),
    "softmax (masked)": (causal, [random(2, 3, 19, 19)]),
    "mul + softmax": (lambda m, x: F.softmax(x * 5, -1), [random(7, 1000)]),
    "log_softmax": (lambda m, x: F.log_softmax(x, -1), [random(7, 17)]),
    "swiglu": (lambda m, x: F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], [random(9, 100)]),
    "rotary embedding": (
        rotary,
        [random(2, 9, 4, 16).transpose(1, 2), random(2, 2, 9, 16), random(9, 16), random(9, 16)],
    ),
    "elementwise chain: add, gelu, sigmoid, mul, tanh": (
        lambda m, x, g: torch.tanh(F.gelu(x + m.b) + torch.sigmoid(g) * x),
        [random(9, 50), random(9, 1)],
    ),
    "elementwise chain: add, gelu, mish, elu": (
        lambda m, x: F.elu(F.mish(F.gelu(x + m.b, approximate="tanh"))), [random(9, 50) * 5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", ROWS)
def test_a_family_is_recognised_and_computed(label: str) -> None:
    function, inputs = ROWS[label]
    model = Model(function, inputs[0].shape[-1])
    plan = planned(model, inputs)
    assert plan is not None
    assert plan.label == label
    check(model, inputs)


def test_several_row_statistics_share_one_kernel() -> None:
    check(Model(statistics), [random(3, 9, 50)])


def test_a_long_sum_stays_as_exact_as_torch() -> None:
    check(Model(lambda m, x: x.sum(-1)), [torch.rand(2, 100_003)])


def test_batch_norm_in_eval_mode_reads_its_channels() -> None:
    norm = nn.BatchNorm2d(5)
    norm.running_mean, norm.running_var = random(5), random(5).abs() + 0.5
    check(nn.Sequential(norm, nn.Dropout(), nn.ReLU()), [random(2, 5, 6, 7)])


def test_group_norm_reduces_over_channels_and_space() -> None:
    check(nn.GroupNorm(2, 6), [random(2, 6, 4, 5)])


def test_a_reshape_may_split_one_axis_and_join_two_others() -> None:
    def function(model: Model, x: Tensor) -> Tensor:
        grouped = x.reshape(2, 2, 3, 20)
        return (grouped - grouped.mean((2, 3), keepdim=True)).reshape(x.shape)

    check(Model(function), [random(2, 6, 4, 5)])


def test_reductions_over_an_inner_axis_put_neighbouring_rows_in_lanes() -> None:
    model = Model(lambda m, x: (F.softmax(x, 1), x.sum(1), x.amax(1)))
    check(model, [random(3, 700, 70)])


def test_a_reduction_of_everything_is_split_among_threads() -> None:
    check(Model(lambda m, x: (x - x.mean(), x.square().mean())), [random(512, 300)])


def test_a_loss_over_rows_may_reduce_what_each_row_reduced() -> None:
    model = Model(lambda m, x, y: 1 - F.cosine_similarity(x, y).mean())
    check(model, [random(64, 99), random(64, 1)])


FUNCTIONS = (
    torch.exp, torch.expm1, torch.log, torch.log1p, torch.tanh, torch.erf, torch.sigmoid,
    torch.sin, torch.cos, torch.rsqrt,
)  # fmt: skip


def test_functions_err_by_a_few_units_in_the_last_place_at_most() -> None:
    x = torch.cat([random(5000) * scale for scale in (1e-20, 1e-3, 1.0, 10.0, 80.0)])
    edges = torch.tensor([0.0, -0.0, INF, -INF, NAN, 88.72, 88.73, -87.3, -104.0, 1e-40])
    x = torch.cat([x, edges])
    found = computed(Model(lambda m, x: tuple(f(x) for f in FUNCTIONS)), [x])
    for function, mine in zip(FUNCTIONS, found, strict=True):
        truth = function(x.double())
        near = truth.float()
        unit = torch.nextafter(near.abs(), torch.tensor(INF)) - near.abs()
        normal = near.isfinite() & (near.abs() > 1.2e-38)
        assert ((mine - truth).abs() <= 3 * unit)[normal].all(), function
        torch.testing.assert_close(mine, near, rtol=1e-6, atol=1.2e-38, equal_nan=True)


def test_nan_and_infinity_come_out_as_from_torch() -> None:
    rows = torch.tensor([[1.0, NAN, 3.0], [INF, 1.0, 2.0], [-INF] * 3, [-INF, 0.0, 1.0]])
    model = Model(lambda m, x: (x.clamp(-1, 1), F.relu(x), x.amax(-1), F.softmax(x, -1)))
    for mine, torchs in zip(computed(model, [rows]), model(rows), strict=True):
        torch.testing.assert_close(mine, torchs, equal_nan=True)


def test_16_bit_floats_are_computed_in_32() -> None:
    x = random(4, 50).bfloat16()
    (mine,) = computed(Model(lambda m, x: F.silu(x) * x), [x])
    torch.testing.assert_close(mine, (F.silu(x.float()) * x.float()).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), ()])
def test_degenerate_shapes_work(shape: tuple[int, ...]) -> None:
    check(Model(lambda m, x: x * 2 + 1), [random(*shape)])


def test_integer_masks_choose_elements() -> None:
    labels = torch.arange(20).view(4, 5) % 3
    check(Model(lambda m, i, x: torch.where(i > 1, x, -1.0) * i), [labels, random(4, 5)])


@pytest.mark.parametrize(
    "name", ["vector", "stream", "keep", "lanes", "block", "schedule", "parallel"]
)
def test_every_choice_gives_the_same_answer(name: str) -> None:
    model = Model(lambda m, x, y: (F.softmax(x, -1), y * 3), 1)
    inputs = [random(301, 1000), random(70_000)]
    plan = planned(model, inputs)
    assert plan is not None
    check(model, inputs, **{name: plan.space[name][-1]})


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x @ x,
        lambda m, x: x.cumsum(-1),
        lambda m, x: x.sort(-1).values,
        lambda m, x: x + torch.rand_like(x),
        lambda m, x: F.dropout(x, 0.5, training=True),
    ],
)
def test_what_is_no_loop_nest_is_refused(function: Callable[..., Any]) -> None:
    assert planned(Model(function), [random(7, 7)]) is None
