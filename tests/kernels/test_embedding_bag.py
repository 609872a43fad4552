from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.kernels.backends import backend
from kernelite.kernels.cpp_templates.embedding_bag import TEMPLATE, EmbeddingBagPlan
from kernelite.kernels.templates import Choice
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import specs


class Model(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def planned(function: Callable[..., Any], inputs: Sequence[Tensor]) -> EmbeddingBagPlan | None:
    return TEMPLATE.match(flat_graph(Model(function).eval(), inputs))


def computed(
    plan: EmbeddingBagPlan | None, inputs: Sequence[Tensor], wanted: Tensor, **choices: Choice
) -> Tensor:
    assert plan is not None
    kernel = plan.render({name: values[0] for name, values in plan.space.items()} | choices)
    cpp, signature = backend("cpp"), Signature(specs([wanted]), (), (), ())
    (found,) = cpp.load(kernel, cpp.build(kernel), signature)(inputs)
    return found


def check(function: Callable[..., Tensor], inputs: Sequence[Tensor], **choices: Choice) -> None:
    """Compare with float64 within 8 times torch's own error, and two units of the result."""
    wanted = function(*inputs)
    found = computed(planned(function, inputs), inputs, wanted, **choices)
    exact = function(*(x.double() if x.is_floating_point() else x for x in inputs))
    errors = [(x.double() - exact).abs().max() for x in (found, wanted)]
    assert (found.shape, found.stride()) == (wanted.shape, wanted.stride())
    assert errors[0] <= 8 * errors[1] + 2.4e-7 * exact.abs().max()


def arguments(bags: int, entries: int, rows: int, columns: int) -> list[Tensor]:
    """Indices, table and weights."""
    generator = torch.Generator().manual_seed(bags + entries)
    return [
        torch.randint(rows, (bags, entries), generator=generator),
        torch.randn(rows, columns, generator=generator),
        torch.rand(bags, entries, generator=generator),
    ]


def weighted_sum(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return (F.embedding(i, table) * w.unsqueeze(-1)).sum(1)


def weighted_mean(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return (table[i] * w[..., None]).mean(dim=1)


def selected(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return table.index_select(0, i.view(-1)).view(*i.shape, -1).sum(1, keepdim=True)


def fused_sum(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding_bag(i, table, mode="sum", per_sample_weights=w)


def fused_mean(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding_bag(i.int(), table, padding_idx=3)


def product(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return torch.bmm(w[:, None], F.embedding(i, table)).squeeze(1)


def contraction(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("bkd,bk->bd", F.embedding(i, table), w)


def from_the_end(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return table[i - table.shape[0]].sum(1) / i.shape[1]


def masked(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return (F.embedding(i, table) * (i != 0).unsqueeze(-1).float()).sum(1)


def several(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    tables = table.chunk(2, dim=1)
    first = (F.embedding(i, tables[0]) * w.unsqueeze(-1)).sum(1)
    return torch.cat([first, F.embedding(i[:, :1], tables[1]).mean(1), first * 2], dim=1)


def stacked(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    bags = [F.embedding_bag(i[:, j : j + 2], table, mode="sum") for j in range(2)]
    return torch.stack(bags, dim=1)


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (weighted_sum, (6, 17, 50, 100)),
        (weighted_mean, (5, 1, 9, 64)),
        (selected, (3, 90, 40, 7)),
        (fused_sum, (33, 3, 500, 300)),
        (fused_mean, (9, 8, 6, 16)),
        (product, (4, 5, 20, 33)),
        (contraction, (4, 17, 20, 8)),
        (from_the_end, (3, 4, 10, 20)),
        (masked, (7, 5, 4, 24)),
        (several, (4, 3, 30, 40)),
        (stacked, (2, 4, 30, 48)),
    ],
)
def test_every_spelling_is_as_exact_as_torch(
    function: Callable[..., Tensor], sizes: tuple[int, int, int, int]
) -> None:
    check(function, arguments(*sizes))


def test_bags_of_any_length_begin_at_their_offsets() -> None:
    def ragged(i: Tensor, table: Tensor, offsets: Tensor) -> Tensor:
        return F.embedding_bag(i, table, offsets)

    indices, table, _ = arguments(1, 30, 50, 20)
    check(ragged, [indices[0], table, torch.tensor([0, 4, 4, 29])])


@pytest.mark.parametrize("choices", [{"prefetch": 0, "unroll": 4}, {"into": "L1", "prefetch": 8}])
def test_the_open_parameters_change_no_result(choices: dict[str, Choice]) -> None:
    check(weighted_sum, arguments(6, 17, 50, 100), **choices)


def test_indices_outside_the_table_give_nan_and_not_a_crash() -> None:
    inputs = arguments(4, 3, 20, 24)
    wrong = inputs[0].clone()
    wrong[1, 2], wrong[3, 0] = 20, -(10**15)
    found = computed(planned(weighted_sum, inputs), [wrong, *inputs[1:]], torch.zeros(4, 24))
    assert found.isnan().all(1).tolist() == [False, True, False, True]
    assert not found[[0, 2]].isnan().any()


def sum_over_bags(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding(i, table).sum(0)


def sum_over_columns(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding(i, table).sum(2)


def weights_per_column(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return (F.embedding(i, table) * w[0]).sum(1)


def weights_of_other_entries(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding(i, table).sum(1) * w.sum(1, keepdim=True)


def largest(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding_bag(i, table, mode="max")


def rows_alone(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return F.embedding(i, table)


def joined_with_another(i: Tensor, table: Tensor, w: Tensor) -> Tensor:
    return torch.cat([F.embedding(i, table).sum(1), w], dim=1)


@pytest.mark.parametrize(
    "function",
    [sum_over_bags, sum_over_columns, weights_per_column, weights_of_other_entries, largest,
     rows_alone, joined_with_another],
)  # fmt: skip
def test_graphs_that_only_look_alike_are_refused(function: Callable[..., Tensor]) -> None:
    assert planned(function, arguments(8, 8, 8, 8)) is None
