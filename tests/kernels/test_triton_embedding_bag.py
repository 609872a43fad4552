"""Bags of embeddings in Triton: what matches, and that it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernelite.kernels.triton_templates.embedding_bag import TEMPLATE
from tests.kernels import test_embedding_bag as spellings
from tests.kernels.emulation import accepted, graph_of, rendered
from tests.kernels.interpreting import computed

pytest.importorskip("triton")


def largest(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding(i, table).amax(1) * 0.5


def first_of_max(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return (table[i] * w[..., None]).max(dim=1).values


def fused_largest(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding_bag(i, table, mode="max", padding_idx=2)


@pytest.mark.parametrize(
    "function",
    [spellings.weighted_mean, spellings.fused_mean, spellings.product, spellings.from_the_end,
     spellings.masked, spellings.several, largest, first_of_max, fused_largest],
)  # fmt: skip
def test_every_spelling_is_as_exact_as_torch(function: Callable[..., Tensor]) -> None:
    computed(TEMPLATE, function, spellings.arguments(6, 5, 30, 40))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_added_up_in_float32(dtype: torch.dtype) -> None:
    i, table, w = spellings.arguments(4, 200, 30, 9)
    computed(TEMPLATE, spellings.weighted_sum, [i, table.to(dtype), w.to(dtype)])


def fused(i: Tensor, offsets: Tensor, table: Tensor, mode: str) -> Tensor:
    return F.embedding_bag(i, table, offsets, mode=mode)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_with_offsets_may_be_empty(mode: str) -> None:
    offsets = torch.tensor([0, 3, 3, 9, 20])
    inputs = [torch.randint(15, (20,)), offsets, torch.randn(15, 24)]
    found = computed(TEMPLATE, lambda i, o, t: fused(i, o, t, mode), inputs)[0]
    assert found[1].eq(0).all()


def test_a_nan_row_spoils_the_largest_of_its_bag_alone() -> None:
    i, table, w = spellings.arguments(6, 5, 30, 40)
    table[i[2, 3]] = float("nan")
    assert computed(TEMPLATE, largest, [i, table, w])[0][2].isnan().all()


@pytest.mark.parametrize(("block_e", "block_c"), [(4, 16), (32, 64)])
def test_the_open_parameters_change_no_result(block_e: int, block_c: int) -> None:
    inputs = spellings.arguments(3, 21, 50, 70)
    computed(TEMPLATE, spellings.weighted_sum, inputs, block_e=block_e, block_c=block_c)


def negated_largest(i: Tensor, table: Tensor, w: Tensor) -> Any:
    return -F.embedding(i, table).amax(1)


def places_of_the_largest(i: Tensor, table: Tensor, w: Tensor) -> Any:
    return F.embedding(i, table).max(1).indices


def largest_of_columns(i: Tensor, table: Tensor, w: Tensor) -> Any:
    return F.embedding(i, table).amax(2)


@pytest.mark.parametrize("function", [negated_largest, places_of_the_largest, largest_of_columns])
def test_graphs_that_only_look_alike_are_refused(function: Callable[..., Any]) -> None:
    assert TEMPLATE.match(graph_of(function, *spellings.arguments(4, 4, 10, 4))) is None


def test_the_kernel_opens_with_its_arithmetic() -> None:
    source = rendered(TEMPLATE, graph_of(largest, *spellings.arguments(4, 8, 10, 16))).source
    assert source.startswith("# embedding_bag (max): 32 entries in 4 bags of a table 10 x 16")


def test_the_judge_accepts_it() -> None:
    accepted(TEMPLATE, "embedding_bag@small_offsets_45x40x8x4_float16")
