from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.kernels.backends import backend
from kernelite.kernels.cpp_templates.cross_entropy import TEMPLATE, CrossEntropyPlan
from kernelite.kernels.templates import Choice
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Signature, flat_tensors
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


def logits(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def labels(classes: int, *shape: int) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(classes))


def planned(function: Callable[..., Any], inputs: Sequence[Tensor]) -> CrossEntropyPlan | None:
    return TEMPLATE.match(flat_graph(Model(function).eval(), inputs))


def computed(
    function: Callable[..., Any], inputs: Sequence[Tensor], wanted: Tensor, **choices: Choice
) -> Tensor:
    plan = planned(function, inputs)
    assert plan is not None
    kernel = plan.render({name: values[0] for name, values in plan.space.items()} | choices)
    cpp, signature = backend("cpp"), Signature(specs([wanted]), (), (), ())
    (found,) = cpp.load(kernel, cpp.build(kernel), signature)(inputs)
    return found


def check(function: Callable[..., Any], inputs: Sequence[Tensor], **choices: Choice) -> None:
    """Compare with float64; the error may be 8 times torch's own, or two units of the result."""
    (wanted,) = flat_tensors(function(*inputs))
    found = computed(function, inputs, wanted, **choices)
    exact = function(inputs[0].double(), *inputs[1:])
    errors = [(x.double() - exact).abs().max() for x in (found, wanted)]
    assert (found.shape, found.stride()) == (wanted.shape, wanted.stride())
    assert errors[0] <= 8 * errors[1] + 2.4e-7 * exact.abs().max()


def fused(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, y)


def flattened_sum(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x.view(-1, x.shape[-1]), y.view(-1), ignore_index=2, reduction="sum")


def next_token(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x[:, :-1].reshape(-1, x.shape[-1]), y[:, 1:].reshape(-1))


def by_row(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x / 0.7, y, reduction="none", ignore_index=1)


def likelihood(x: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(x, dim=-1), y)


def gathered(x: Tensor, y: Tensor) -> Tensor:
    return -torch.log_softmax(x, -1).gather(-1, y.unsqueeze(-1)).squeeze(-1).mean()


def indexed(x: Tensor, y: Tensor) -> Tensor:
    return -x.log_softmax(-1)[torch.arange(x.shape[0]), y].sum() / 5


def difference(x: Tensor, y: Tensor) -> Tensor:
    return (torch.logsumexp(x, -1) - x.gather(1, y[:, None]).squeeze(1)).mean()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (fused, (13, 1037)),
        (flattened_sum, (3, 7, 65)),
        (next_token, (2, 9, 300)),
        (by_row, (37, 10)),
        (likelihood, (1, 130)),
        (gathered, (2, 5, 11)),
        (indexed, (6, 1)),
        (difference, (33, 70)),
    ],
)
def test_every_spelling_is_as_exact_as_torch(
    function: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    check(function, [logits(*shape), labels(shape[-1], *shape[:-1])])


def test_classes_may_lie_apart_as_in_segmentation() -> None:
    check(fused, [logits(2, 21, 9, 7), labels(21, 2, 9, 7)])


@pytest.mark.parametrize("choices", [{"passes": "two", "chunk": 256}, {"chunk": 1024}])
def test_the_open_parameters_change_no_result(choices: dict[str, Choice]) -> None:
    check(fused, [logits(5, 3000), labels(3000, 5)], **choices)


def test_the_mean_counts_only_labels_that_are_not_ignored() -> None:
    x, y = torch.zeros(4, 8), torch.tensor([1, -100, -100, 3])
    found = computed(fused, [x, y], torch.tensor(0.0))
    torch.testing.assert_close(found, torch.tensor(8.0).log())


def test_a_mean_of_nothing_is_nan() -> None:
    assert computed(fused, [torch.zeros(2, 3), torch.tensor([-100] * 2)], torch.tensor(0.0)).isnan()


def test_labels_outside_the_classes_give_nan_and_not_a_crash() -> None:
    def none(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(x, y, reduction="none")

    y = torch.tensor([0, 300, -1, 10**15, 299])
    found = computed(none, [logits(5, 300), y], torch.zeros(5))
    assert found.isnan().tolist() == [False, True, True, True, False]


def test_infinite_logits_end_as_in_torch() -> None:
    x = logits(4, 300)
    x[0, 5], x[1, 6], x[2, :] = float("inf"), float("nan"), -float("inf")
    x[3, :200] = -float("inf")
    y = torch.tensor([250] * 4)
    torch.testing.assert_close(
        computed(by_row, [x, y], torch.zeros(4)), by_row(x, y), equal_nan=True
    )


def smoothed(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, y, label_smoothing=0.1)


def weighted(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, y, weight=torch.arange(6.0))


def probabilities(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, F.one_hot(y, 6).float())


def softmax_over_rows(x: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(x, dim=0), y)


def two_labels_a_row(x: Tensor, y: Tensor) -> Tensor:
    return -x.log_softmax(-1).gather(1, y[:, None].expand(-1, 2)).mean()


def gather_over_rows(x: Tensor, y: Tensor) -> Tensor:
    return -x.log_softmax(-1).gather(0, y[None].clamp(max=3)).mean()


def rows_in_another_order(x: Tensor, y: Tensor) -> Tensor:
    return -x.log_softmax(-1)[torch.arange(5, -1, -1), y].mean()


def mean_over_one_dimension(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, y, reduction="none").view(2, 3).mean(1)


@pytest.mark.parametrize(
    "function",
    [smoothed, weighted, probabilities, softmax_over_rows, two_labels_a_row, gather_over_rows,
     rows_in_another_order, mean_over_one_dimension],
)  # fmt: skip
def test_graphs_that_only_look_alike_are_refused(function: Callable[..., Tensor]) -> None:
    assert planned(function, [logits(6, 6), labels(6, 6)]) is None
