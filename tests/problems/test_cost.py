from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kernelite.problems.cost import Cost, graph_cost
from kernelite.problems.graph import flat_graph


class Of(nn.Module):
    """A module around a function of tensors."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def cost_of(model: nn.Module, *inputs: Tensor) -> Cost:
    return graph_cost(flat_graph(model.eval(), inputs).graph.nodes)


def test_a_linear_layer_needs_two_operations_per_weight_and_row() -> None:
    cost = cost_of(nn.Linear(30, 7), torch.randn(4, 5, 30))
    assert cost.flops == 2 * 20 * 30 * 7


def test_a_grouped_convolution_counts_only_its_group_s_channels() -> None:
    cost = cost_of(nn.Conv2d(8, 6, 3, groups=2), torch.randn(2, 8, 10, 10))
    assert cost.flops == 2 * (2 * 6 * 8 * 8) * (4 * 3 * 3)


def test_causal_attention_counts_the_visible_pairs_only() -> None:
    q = torch.randn(1, 2, 4, 8)
    full = cost_of(Of(scaled_dot_product_attention), q, q, q)
    causal = cost_of(Of(lambda *x: scaled_dot_product_attention(*x, is_causal=True)), q, q, q)
    assert causal.flops / full.flops == 10 / 16


def test_einsum_spans_all_its_labels() -> None:
    cost = cost_of(Of(lambda a, b: torch.einsum("bik,bkj->bij", a, b)),
                   torch.randn(2, 3, 4), torch.randn(2, 4, 5))  # fmt: skip
    assert cost.flops == 2 * 2 * 3 * 4 * 5


def test_fusing_a_chain_leaves_only_its_ends() -> None:
    cost = cost_of(Of(lambda x: ((x + 1) * 2).relu()), torch.randn(10, 10))
    assert (cost.bytes_unfused, cost.bytes_fused) == (6 * 400, 2 * 400)


def test_views_are_free() -> None:
    cost = cost_of(Of(lambda x: x.view(20, 5).transpose(0, 1).unsqueeze(0)), torch.randn(10, 10))
    assert cost == Cost(0, 0, 0)


def test_a_reshape_that_must_copy_is_not_free() -> None:
    cost = cost_of(Of(lambda x: x.t().reshape(100)), torch.randn(10, 10))
    assert cost.bytes_unfused == 2 * 400


def test_a_broadcast_input_counts_its_storage_once() -> None:
    cost = cost_of(Of(lambda x, w: x * w.expand(64, 10)), torch.randn(64, 10), torch.randn(1, 10))
    assert cost.bytes_fused == 2 * 64 * 10 * 4 + 40


def test_a_sliced_input_counts_the_used_part() -> None:
    cost = cost_of(Of(lambda x: x[:, :3].exp()), torch.randn(8, 100))
    assert cost.bytes_fused == 2 * 8 * 3 * 4


def test_an_embedding_reads_only_the_gathered_rows() -> None:
    index = torch.tensor([1, 5, 7])
    cost = cost_of(nn.Embedding(1000, 16), index)
    assert cost.bytes_fused == 3 * 8 + 2 * 3 * 16 * 4


def test_an_embedding_bag_reads_rows_and_writes_sums() -> None:
    bag = nn.EmbeddingBag(1000, 16, mode="sum", include_last_offset=True)
    cost = cost_of(bag, torch.arange(12), torch.tensor([0, 6, 12]))
    assert cost.bytes_fused == 12 * 8 + 3 * 8 + 12 * 16 * 4 + 2 * 16 * 4


def test_an_operand_used_twice_is_read_once() -> None:
    assert cost_of(Of(lambda x: x * x), torch.randn(10)).bytes_unfused == 2 * 40


def test_dropout_costs_nothing_in_evaluation() -> None:
    assert cost_of(nn.Dropout(0.5), torch.randn(10)).bytes_unfused == 0


@pytest.mark.parametrize("size", [1, 33])
def test_a_part_of_a_graph_counts_what_crosses_its_border(size: int) -> None:
    graph = flat_graph(Of(lambda x: (x + 1).exp().sum()), (torch.randn(size),)).graph
    middle = [node for node in graph.nodes if "exp" in node.name]
    assert graph_cost(middle).bytes_fused == 2 * size * 4
