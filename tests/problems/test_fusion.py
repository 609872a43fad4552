from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kernelite.problems.fusion import constants, groups, kind_of
from kernelite.problems.graph import flat_graph
from kernelite.problems.operators import name_of
from tests.models import Of, decoder

X = torch.randn(2, 4, 8)
W = torch.randn(8, 8)


def found(function: Callable[..., Any], *inputs: Tensor) -> list[list[str]]:
    """Names of the operators in each group, in order."""
    return grouped(flat_graph(Of(function), inputs).graph)


def grouped(graph: fx.Graph) -> list[list[str]]:
    return [[name_of(n) for n in group] for group in groups(graph, constants(graph))]


def descendants(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    seen, pending = set[fx.Node](), [user for node in nodes for user in node.users]
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending += node.users
    return seen


def test_neighbours_that_can_be_fused_are_one_group() -> None:
    assert found(lambda x: (x + 1).exp() * x.sum(-1, keepdim=True), X) == [
        ["add", "exp", "sum", "mul"]
    ]


def test_operators_that_share_only_an_input_are_apart() -> None:
    assert found(lambda x: (x.exp(), x.neg()), X) == [["exp"], ["neg"]]


def test_adding_the_same_input_before_and_after_a_linear_makes_two_groups() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> Tensor:
        before = x + r
        return F.linear(before, w) + before

    assert found(model, X, X, W) == [["add"], ["linear"], ["add"]]


def test_a_group_is_read_through_views() -> None:
    def model(x: Tensor) -> Tensor:
        return x.exp().view(8, 8).transpose(0, 1) + 1

    assert found(model, X) == [["exp", "add"]]


STEPS: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
    lambda a, b, w: a + b,
    lambda a, b, w: a.exp(),
    lambda a, b, w: a.softmax(-1),
    lambda a, b, w: F.linear(a, w),
    lambda a, b, w: F.gelu(F.linear(a, w)),
    lambda a, b, w: a @ b.transpose(-2, -1) @ b,
    lambda a, b, w: (a @ b.transpose(-2, -1)).softmax(-1) @ a,
]


@pytest.mark.parametrize("seed", range(10))
def test_no_path_leaves_a_group_and_comes_back(seed: int) -> None:
    draw = Random(seed)

    def model(x: Tensor, w: Tensor) -> Tensor:
        known = [x]
        for _ in range(12):
            step = draw.choice(STEPS)
            known.append(step(draw.choice(known[-4:]), draw.choice(known), w))
        return torch.stack(known).sum(0)

    graph = flat_graph(Of(model), [X, W]).graph
    for group in map(set, groups(graph, constants(graph))):
        outside = descendants(group) - group
        assert not descendants(outside) & group


def test_no_path_leaves_a_group_of_a_decoder_and_comes_back() -> None:
    model, words = decoder()
    graph = flat_graph(model, [words]).graph
    for group in map(set, groups(graph, constants(graph))):
        assert not descendants(descendants(group) - group) & group


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(8)
    return (scores + 1).softmax(-1) @ v


def test_product_softmax_and_product_are_one_group() -> None:
    assert found(attention, X, X, X) == [["matmul", "div", "add", "softmax", "matmul"]]


def test_scores_that_others_read_keep_attention_apart() -> None:
    def model(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        scores = q @ k.transpose(-2, -1)
        return scores.softmax(-1) @ v, scores @ scores

    assert ["matmul", "softmax", "matmul"] not in found(model, X, X, X)


def test_weights_that_two_products_read_keep_attention_apart() -> None:
    def model(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return weights @ v, weights @ (v + 1)

    assert ["matmul", "softmax", "matmul"] not in found(model, X, X, X)


@pytest.mark.parametrize("activation", [F.gelu, F.relu, F.silu, torch.tanh, torch.sigmoid])
def test_a_linear_and_the_activation_that_alone_reads_it_are_one_group(activation: Any) -> None:
    assert found(lambda x, w: activation(F.linear(x, w)), X, W) == [["linear", activation.__name__]]


def test_a_linear_that_others_read_too_stays_alone() -> None:
    def model(x: Tensor, w: Tensor) -> Tensor:
        y = F.linear(x, w)
        return F.gelu(y) @ y.transpose(-2, -1)

    assert found(model, X, W) == [["linear"], ["gelu"], ["matmul"]]


def test_an_embedding_is_apart_from_what_follows() -> None:
    words = torch.randint(8, (2, 4))
    assert found(lambda i, w: F.layer_norm(F.embedding(i, w), (8,)), words, W) == [
        ["embedding"],
        ["layer_norm"],
    ]


@pytest.mark.parametrize("axis", [1, -2])
def test_an_embedding_summed_over_a_bag_is_kept_together(axis: int) -> None:
    words, weights = torch.randint(8, (2, 4)), torch.rand(2, 4, 1)
    assert found(lambda i, w, s: (F.embedding(i, w) * s).sum(axis), words, W, weights) == [
        ["embedding", "mul", "sum"]
    ]


def test_a_sum_over_the_columns_is_no_bag() -> None:
    words = torch.randint(8, (2, 4))
    assert found(lambda i, w: F.embedding(i, w).sum(-1), words, W) == [["embedding"], ["sum"]]


def test_what_depends_on_no_input_is_constant() -> None:
    def model(x: Tensor) -> Tensor:
        mask = torch.arange(4)[:, None] >= torch.arange(8)
        return x * mask + torch.zeros_like(x)

    graph = flat_graph(Of(model), [X]).graph
    assert sorted({name_of(n) for n in constants(graph)} - {""}) == ["arange", "ge", "unsqueeze"]


def kinds(function: Callable[..., Any], *inputs: Tensor) -> list[str | None]:
    graph = flat_graph(Of(function), inputs).graph
    return [kind_of(group) for group in groups(graph, constants(graph))]


def test_kinds_name_what_a_group_is() -> None:
    assert kinds(attention, X, X, X) == ["attention"]
    assert kinds(F.scaled_dot_product_attention, X, X, X) == ["attention"]
    assert kinds(lambda x, w: F.gelu(F.linear(x, w)), X, W) == ["gemm"]
    assert kinds(lambda x: x.exp(), X) == ["fusible"]
    assert kinds(nn.Conv1d(4, 2, 3).requires_grad_(False), X) == ["convolution"]


def test_there_is_nothing_to_compute_in_copies_and_sorting() -> None:
    assert kinds(lambda x: F.dropout(x.to(torch.float64), 0.5, False), X) == [None]
    assert kinds(lambda x: x.sort(-1)[0], X) == [None]
