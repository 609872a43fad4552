"""Attention in Triton: what matches, and that it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernelite.kernels.triton_templates.attention import TEMPLATE, AttentionPlan
from tests.kernels import test_attention as spellings
from tests.kernels.emulation import accepted, graph_of, rendered
from tests.kernels.interpreting import computed

pytest.importorskip("triton")
INF = float("inf")


def llama(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, dim=1) for x in (k, v))
    scores = torch.matmul(q, k.transpose(2, 3)) * 0.3 + mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(weights, v).transpose(1, 2).contiguous()


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.2, enable_gqa=True)


def boolean(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask)


def packed(x: Tensor) -> Tensor:
    return spellings.packed(None, x)  # type: ignore[arg-type]


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [spellings.random(*shape).to(dtype) + 0.1 * i for i, shape in enumerate(shapes)]


def planned(function: Callable[..., Any], inputs: list[Tensor]) -> AttentionPlan | None:
    return TEMPLATE.match(graph_of(function, *inputs))


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (spellings.einsum_and_where, [(2, 37, 3, 16)] * 3),
        (spellings.three_dimensions, [(3, 23, 8)] * 3),
        (spellings.window, [(1, 1, 60, 8)] * 3),
        (spellings.lower_triangle, [(1, 2, 40, 24), (1, 2, 50, 24), (1, 2, 50, 33)]),
    ],
)
def test_every_spelling_is_as_exact_as_torch(
    function: Callable[..., Tensor], shapes: list[tuple[int, ...]]
) -> None:
    computed(TEMPLATE, lambda *inputs: function(None, *inputs), tensors(*shapes))


def test_the_parts_of_one_tensor_are_read_in_place() -> None:
    computed(TEMPLATE, packed, tensors((1, 20, 9 * 8)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("queries", [1, 3, 20])
def test_heads_of_a_group_share_keys_and_each_has_its_own_mask(
    dtype: torch.dtype, queries: int
) -> None:
    inputs = tensors((2, 6, queries, 8), (2, 2, 40, 8), (2, 2, 40, 8), (1, 6, queries, 40))
    computed(TEMPLATE, llama, [x.to(dtype) for x in inputs])


@pytest.mark.parametrize("splits", [2, 3, 4])
def test_keys_split_among_programs_are_combined(splits: int) -> None:
    inputs = tensors((1, 4, 1, 8), (1, 1, 70, 8), (1, 1, 70, 12), (1, 1, 1, 70))
    inputs[3][..., :32] = -INF  # a part in which nothing is visible
    computed(TEMPLATE, llama, inputs, splits=splits, block_n=16)


@pytest.mark.parametrize(("block_m", "block_n"), [(16, 16), (64, 32), (16, 64)])
def test_the_open_parameters_change_no_result(block_m: int, block_n: int) -> None:
    inputs = tensors((1, 2, 50, 20), (1, 1, 50, 20), (1, 1, 50, 20))
    computed(TEMPLATE, fused, inputs, block_m=block_m, block_n=block_n)


def test_rows_that_see_nothing_are_nan_when_spelled_out_and_zero_in_the_fused_operator() -> None:
    q, k, v = tensors((1, 2, 20, 8), (1, 2, 18, 8), (1, 2, 18, 8))
    kept = torch.ones(1, 2, 20, 18, dtype=torch.bool)
    kept[0, 1, 3] = False
    added = torch.zeros(1, 2, 20, 18).masked_fill(~kept, -INF)
    assert computed(TEMPLATE, boolean, [q, k, v, kept])[0][0, 1, 3].eq(0).all()
    assert computed(TEMPLATE, llama, [q, k, v, added])[0][0, 3, 1].isnan().all()


def test_a_finite_mask_leaves_a_row_that_sees_nothing_its_average() -> None:
    q, k, v = tensors((1, 1, 5, 8), (1, 1, 20, 8), (1, 1, 20, 8))
    mask = torch.zeros(1, 1, 5, 20)
    mask[0, 0, 2] = torch.finfo(torch.float32).min
    found = computed(TEMPLATE, llama, [q, k, v, mask])[0]
    torch.testing.assert_close(found[0, 2, 0], v[0, 0].mean(0))


def counted(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor) -> Tensor:
    token = torch.arange(q.shape[0])
    sequence = (bounds[None] <= token[:, None]).sum(1)
    kept = (sequence[None] == sequence[:, None]) & (token <= token[:, None])
    scores = torch.einsum("ihd,jhd->hij", q, k) * 0.3
    weights = torch.where(kept, scores, -INF).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, v)


def searched(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor) -> Tensor:
    sequence = torch.searchsorted(bounds, torch.arange(q.shape[0]), right=True)
    kept = sequence[:, None] == sequence
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, kept).transpose(0, 1)


@pytest.mark.parametrize("function", [counted, searched])
@pytest.mark.parametrize("count", [1, 4, 19])
def test_packed_sequences_see_only_themselves(function: Callable[..., Tensor], count: int) -> None:
    inputs = tensors(*[(45, 2, 8)] * 3)
    bounds = torch.cat([torch.tensor([0]), torch.randperm(44)[: count - 1].sort().values + 1])
    computed(TEMPLATE, function, [*inputs, bounds], block_m=16, block_n=16)


def test_bounds_that_do_not_ascend_are_counted_all_the_same() -> None:
    bounds = torch.tensor([30, 0, 10, 10, 45], dtype=torch.int32)
    computed(TEMPLATE, counted, [*tensors(*[(45, 1, 8)] * 3), bounds])


def behind(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor) -> Tensor:
    sequence = (torch.arange(q.shape[0])[:, None] > bounds).sum(1)
    scores = torch.einsum("ihd,jhd->hij", q, k)
    hidden = sequence[:, None] != sequence
    return torch.einsum("hij,jhd->ihd", scores.masked_fill(hidden, -INF).softmax(-1), v)


def other_sequences(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor) -> Tensor:
    sequence = (torch.arange(q.shape[0])[:, None] >= bounds).sum(1)
    scores = torch.einsum("ihd,jhd->hij", q, k)
    hidden = sequence[:, None] == sequence
    return torch.einsum("hij,jhd->ihd", scores.masked_fill(hidden, -INF).softmax(-1), v)


@pytest.mark.parametrize("function", [behind, other_sequences])
def test_sequences_that_are_counted_otherwise_are_refused(function: Callable[..., Any]) -> None:
    assert planned(function, [*tensors(*[(9, 1, 8)] * 3), torch.tensor([0, 4])]) is None


def test_few_queries_of_few_heads_have_their_keys_split() -> None:
    decode = planned(fused, tensors((1, 8, 1, 128), (1, 8, 8192, 128), (1, 8, 8192, 128)))
    prefill = planned(fused, tensors((1, 64, 1024, 16), (1, 64, 1024, 16), (1, 64, 1024, 16)))
    assert decode is not None
    assert prefill is not None
    assert decode.space["splits"][0] == 32
    assert prefill.space["splits"][0] == 1


@pytest.mark.parametrize(
    "function",
    [spellings.softmax_over_queries, spellings.transposed_weights, spellings.scores_too,
     spellings.masked_weights, spellings.checkerboard, spellings.no_transpose],
)  # fmt: skip
def test_graphs_that_only_look_alike_are_refused(function: Callable[..., Any]) -> None:
    assert planned(lambda *x: function(None, *x), tensors(*[(1, 2, 8, 8)] * 3)) is None


def test_three_stages_are_offered_only_where_every_target_has_the_memory_for_them() -> None:
    narrow = planned(fused, tensors(*[(1, 1, 256, 32)] * 3, dtype=torch.float16))
    wide = planned(fused, tensors(*[(1, 1, 256, 128)] * 3, dtype=torch.float16))
    assert narrow is not None
    assert wide is not None
    assert 3 in narrow.space["num_stages"]
    assert 3 not in wide.space["num_stages"]


def test_heads_that_no_register_file_holds_are_refused() -> None:
    assert planned(fused, tensors(*[(1, 1, 4, 512)] * 3)) is None


def test_types_that_differ_are_refused() -> None:
    def converted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).softmax(-1) @ v.float()

    q, k, v = tensors(*[(1, 1, 4, 8)] * 3)
    assert planned(converted, [q, k, v]) is not None
    assert planned(converted, [q, k, v.half()]) is None


def test_the_kernel_opens_with_its_arithmetic() -> None:
    inputs = tensors(*[(1, 2, 64, 16)] * 3, dtype=torch.float16)
    source = rendered(TEMPLATE, graph_of(fused, *inputs)).source
    # Four tensors of 2 x 64 x 16; half of the scores and the diagonal, twice 2 x 16 operations.
    assert source.startswith("# attention (causal): q (2, 64, 16), v (2, 64, 16), torch.float16\n"
                             "# 16,384 bytes, 266,240 operations")  # fmt: skip


@pytest.mark.parametrize(
    "name", ["small_window_1x2x1x21x21x8_bfloat16", "small_full_1x4x1x1x70x7_float16"]
)
def test_the_judge_accepts_it(name: str) -> None:
    accepted(TEMPLATE, f"attention@{name}")
