from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.kernels import launch
from kernelite.kernels.backends import backend
from kernelite.kernels.cpp_templates.attention import TEMPLATE, AttentionPlan
from kernelite.kernels.templates import Choice
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Signature, flat_tensors
from kernelite.problems.tensors import specs

INF = float("inf")


class Model(nn.Module):
    """A function of tensors that may read a buffer, the lower triangle of ones."""

    triangle: Tensor

    def __init__(self, function: Callable[..., Any], triangle: int = 1) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("triangle", torch.ones(triangle, triangle).tril())

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def planned(model: nn.Module, inputs: Sequence[Tensor]) -> AttentionPlan | None:
    return TEMPLATE.match(flat_graph(model.eval(), inputs))


def check(model: nn.Module, inputs: Sequence[Tensor], **choices: Choice) -> list[Tensor]:
    """The kernel's outputs, after comparing them with float64 within 8 times torch's own error."""
    plan = planned(model, inputs)
    assert plan is not None
    kernel = plan.render({name: values[0] for name, values in plan.space.items()} | choices)
    cpp, wanted = backend("cpp"), flat_tensors(model(*inputs))
    signature = Signature(specs(wanted), (), tuple(model.state_dict()), ())
    found = cpp.load(kernel, cpp.build(kernel), signature)([*inputs, *model.state_dict().values()])
    exact = flat_tensors(model(*(x.double() if x.is_floating_point() else x for x in inputs)))
    for own, torchs, true in zip(found, wanted, exact, strict=True):
        assert (own.shape, own.stride()) == (torchs.shape, torchs.stride())
        assert own.isnan().equal(torchs.isnan())
        torch.testing.assert_close(own.double(), true, rtol=1e-4, atol=1e-4, equal_nan=True)
        errors = [(x.double() - true).nan_to_num(0, 0, 0).abs().max() for x in (own, torchs)]
        assert errors[0] <= 8 * errors[1] + 1e-12
    return found


def plain(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1) @ v


def lower_triangle(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = torch.tril(torch.ones(q.shape[2], k.shape[2])).view(1, 1, q.shape[2], k.shape[2])
    scores = (q @ k.mT * 0.3).masked_fill(seen == 0, -INF)
    return F.dropout(scores.softmax(-1), 0.1, training=False) @ v


def einsum_and_where(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    rows, columns = torch.arange(q.shape[1])[:, None], torch.arange(k.shape[1])[None]
    scores = torch.einsum("bihd,bjhd->bhij", q, k) * 0.2
    scores = torch.where(columns <= rows, scores, -INF)
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1, dtype=q.dtype), v)


def added_triangle(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = torch.full((q.shape[2], q.shape[2]), -INF).triu(1)
    scores = torch.matmul(q * 0.4, k.transpose(2, 3)) + mask
    return (scores.softmax(-1) @ v).transpose(1, 2).contiguous().flatten(2)


def packed(_: Model, x: Tensor) -> Tensor:
    heads = x.shape[0], x.shape[1], 3, x.shape[2] // 9
    q, k, v = (part.view(heads).transpose(1, 2) for part in x.chunk(3, dim=2))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)


def repeated_heads(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k = k[:, :, None].expand(-1, -1, times, -1, -1).reshape(k.shape[0], -1, *k.shape[2:])
    return ((q @ k.mT) * 0.2).softmax(-1) @ v.repeat_interleave(times, dim=1)


def grouped(_: Model, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def buffer(self: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = self.triangle[: q.shape[2], : k.shape[2]]
    scores = (q @ k.transpose(-2, -1)) * 0.25
    return scores.masked_fill(seen == 0, -INF).softmax(-1) @ v


def three_dimensions(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    hidden = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(1)
    scores = torch.bmm(q, k.transpose(1, 2)).masked_fill(hidden, torch.finfo(torch.float32).min)
    return torch.bmm(scores.softmax(2), v)


def window(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    ones = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    scores = (q @ k.mT).masked_fill(~ones.tril(), -INF)
    return scores.masked_fill(~ones.triu(-5), -INF).softmax(-1) @ v


@pytest.mark.parametrize(
    ("function", "shapes", "label"),
    [
        (plain, [(2, 3, 17, 20)] * 3, "attention"),
        (lower_triangle, [(1, 2, 83, 64), (1, 2, 90, 64), (1, 2, 90, 33)], "attention (causal)"),
        (einsum_and_where, [(2, 37, 3, 16)] * 3, "attention (causal)"),
        (added_triangle, [(1, 3, 50, 24)] * 3, "attention (causal)"),
        (packed, [(2, 40, 9 * 16)], "attention (causal)"),
        (repeated_heads, [(2, 6, 1, 32), (2, 2, 19, 32), (2, 2, 19, 32)],
         "attention (grouped queries)"),
        (buffer, [(2, 2, 70, 16)] * 3, "attention (mask)"),
        (three_dimensions, [(5, 23, 8)] * 3, "attention (causal)"),
        (window, [(1, 1, 60, 8)] * 3, "attention (window)"),
    ],
)  # fmt: skip
def test_every_spelling_is_as_exact_as_torch(
    function: Callable[..., Tensor], shapes: list[tuple[int, ...]], label: str
) -> None:
    inputs = [random(*shape) + 0.1 * i for i, shape in enumerate(shapes)]
    model = Model(function, triangle=100)
    plan = planned(model, inputs)
    assert plan is not None
    assert plan.label == label
    check(model, inputs)


def test_rows_that_see_nothing_are_nan_when_spelled_out() -> None:
    def added(_: Model, q: Tensor, mask: Tensor) -> Tensor:
        return (q @ q.mT + mask).softmax(-1) @ q

    mask = torch.zeros(2, 1, 20, 20).masked_fill(random(2, 1, 20, 20) > 0, -INF)
    mask[0, 0, 3] = -INF
    assert check(Model(added), [random(2, 3, 20, 8), mask])[0][0, :, 3].isnan().all()


def test_rows_that_see_nothing_are_zero_in_the_fused_operator() -> None:
    mask = random(2, 1, 21, 18) > 0
    mask[1, 0, 7] = False
    inputs = [random(2, 4, 21, 8), random(2, 2, 18, 8), random(2, 2, 18, 8), mask]
    assert check(Model(grouped), inputs)[0][1, :, 7].eq(0).all()


def test_an_added_mask_may_be_large_and_finite() -> None:
    def added(_: Model, q: Tensor, mask: Tensor) -> Tensor:
        return (q @ q.mT * 0.3 + mask).softmax(-1) @ q

    mask = torch.full((90, 90), torch.finfo(torch.float32).min).triu(1)
    mask[:, :40] = mask[0, 1]
    check(Model(added), [random(1, 2, 90, 16), mask])


@pytest.mark.parametrize("function", [lower_triangle, added_triangle])
@pytest.mark.parametrize("place", ["key", "value"])
def test_nan_behind_a_mask_ends_where_torch_has_it(
    function: Callable[..., Tensor], place: str
) -> None:
    q, k, v = (random(1, 2, 70, 16) + i for i in range(3))
    (k if place == "key" else v)[0, 1, 66, 3] = float("nan")
    check(Model(function), [q, k, v])


def test_a_finite_mask_leaves_a_padded_row_its_average() -> None:
    def padded(_: Model, q: Tensor, mask: Tensor) -> Tensor:
        scores = (q @ q.mT).masked_fill(torch.ones(20, 20).tril() == 0, -1e9)
        return scores.masked_fill(mask[:, None, None, :] == 0, -1e9).softmax(-1) @ q

    mask = torch.ones(2, 20)
    mask[:, :6] = 0
    q = random(2, 2, 20, 8)
    torch.testing.assert_close(check(Model(padded), [q, mask])[0][:, :, 0], q.mean(2))


def test_the_open_parameters_change_no_result() -> None:
    inputs = [random(1, 2, 70, 20)] * 3
    check(Model(lower_triangle), inputs, block_q=256, block_k=16, lanes=8, unroll=3)


def test_strided_arguments_are_read_in_place() -> None:
    inputs = [random(2, 9, 3, 16).transpose(1, 2) for _ in range(3)]
    plan = planned(Model(plain), inputs)
    assert plan is not None
    source = plan.render({name: values[0] for name, values in plan.space.items()}).source
    stride = tuple(inputs[0].stride())
    assert launch.parse(source).layouts == dict.fromkeys(("in0", "in1", "in2"), stride)


def softmax_over_queries(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-2) @ v


def transposed_weights(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1).mT @ v


def scores_too(_: Model, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = q @ k.mT
    return scores.softmax(-1) @ v, scores


def masked_weights(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1).tril() @ v


def checkerboard(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    hidden = torch.arange(q.shape[2])[:, None] % 2 == torch.arange(k.shape[2]) % 2
    return (q @ k.mT).masked_fill(hidden, -INF).softmax(-1) @ v


def no_transpose(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k).softmax(-1) @ v + 1


def written_scores(_: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT
    scores[..., 0] = 0
    return scores.softmax(-1) @ v


@pytest.mark.parametrize(
    "function",
    [softmax_over_queries, transposed_weights, scores_too, masked_weights, checkerboard,
     no_transpose, written_scores],
)  # fmt: skip
def test_graphs_that_only_look_alike_are_refused(function: Callable[..., Any]) -> None:
    assert planned(Model(function), [random(1, 2, 8, 8)] * 3) is None


def test_other_types_are_refused() -> None:
    assert planned(Model(plain), [random(1, 2, 8, 8).bfloat16()] * 3) is None
