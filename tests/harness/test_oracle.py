"""What counts as right: refused and accepted outputs, and the numbers behind the decision."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from kernelite.harness.cases import Cases
from kernelite.harness.oracle import Errors, Promote, budget, compare, errors, in_float64
from kernelite.problems.problem import Problem

INF, NAN = float("inf"), float("nan")


class Formula(torch.nn.Module):
    """A model without state."""

    def __init__(self, formula: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.formula(*inputs)


FORMULAS: dict[str, Callable[..., torch.Tensor]] = {
    "softmax": lambda x, w: torch.softmax(x, -1),
    "linear": lambda x, w: F.linear(x, w),
    "layer_norm": lambda x, w: F.layer_norm(x, (256,)),
    "gelu": lambda x, w: F.gelu(x),
    "small numbers": lambda x, w: torch.tanh(x) * 1e-12,
}
X, W = torch.randn(64, 256, generator=torch.Generator().manual_seed(1)), torch.randn(96, 256)


def judged(name: str, answer: torch.Tensor, dtype: torch.dtype = torch.float32) -> str | None:
    """What is wrong with an answer to one of the formulas at ``dtype``."""
    model, x, w = Formula(FORMULAS[name]), X.to(dtype), W.to(dtype)
    return compare([answer], [model(x, w)], in_float64(model, (x, w), {}), 256)[1]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros_like,
        lambda y: torch.full_like(y, float(y.mean())),
        lambda y: X[:, : y.shape[1]].clone(),
        lambda y: y.bfloat16().float(),
        lambda y: y.half().float() if float(y.abs().max()) > 1e-3 else y * (1 + 5e-4),
        lambda y: y.flip(0),
        lambda y: y * (1 + 1e-4),
    ],
    ids=["zeros", "constant", "copy", "bfloat16", "half", "rows in another order", "scaled"],
)
def test_a_wrong_answer_is_refused(name: str, wrong: Callable[..., torch.Tensor]) -> None:
    right = FORMULAS[name](X, W)
    assert judged(name, right.clone()) is None
    assert judged(name, wrong(right)) is not None


@pytest.mark.parametrize("name", FORMULAS)
def test_one_wrong_element_is_refused(name: str) -> None:
    answer = FORMULAS[name](X, W).clone()
    answer.view(-1)[int(answer.abs().argmax())] *= 1.001
    assert judged(name, answer) is not None


def test_one_wrong_element_does_not_drown_among_a_million_right_ones() -> None:
    reference = torch.ones(1 << 20)
    answer = reference.clone()
    answer[77] += 1e-4
    _, wrong = compare([answer], [reference], [reference.double()], 1)
    assert "one element is off" in str(wrong)


@pytest.mark.parametrize("parts", [2, 8, 64])
def test_a_sum_in_another_order_is_accepted(parts: int) -> None:
    pieces = zip(X.chunk(parts, 1), W.chunk(parts, 1), strict=True)
    assert judged("linear", torch.stack([F.linear(x, w) for x, w in pieces]).sum(0)) is None


def test_a_sequential_sum_of_many_terms_is_accepted() -> None:
    x = torch.rand(4, 4096, generator=torch.Generator().manual_seed(2))
    answer = x.cumsum(1)[:, -1]
    chunked = torch.stack([c.sum(1) for c in x.chunk(64, 1)]).sum(0)
    for got in (answer, chunked):
        assert compare([got], [x.sum(1)], [x.double().sum(1)], 4096)[1] is None


def test_half_precision_with_wide_sums_is_accepted_and_narrow_sums_are_not() -> None:
    x, w = X.half(), W.half()
    wide = F.linear(x.float(), w.float()).half()
    narrow = torch.zeros(64, 96, dtype=torch.float16)
    for k in range(256):
        narrow += x[:, k : k + 1] * w[:, k]
    assert judged("linear", wide, torch.float16) is None
    assert judged("linear", narrow, torch.float16) is not None


def test_more_precise_than_the_reference_is_accepted_with_a_small_ratio() -> None:
    truth = in_float64(Formula(FORMULAS["softmax"]), (X, W), {})
    ratio, wrong = compare([truth[0].float()], [torch.softmax(X, -1)], truth, 256)
    assert wrong is None
    assert ratio <= 1.0


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ([1, NAN, INF, -INF], True),
        ([1, 2, INF, -INF], False),
        ([NAN, NAN, INF, -INF], False),
        ([1, NAN, -INF, -INF], False),
        ([1, NAN, 3e38, -INF], False),
        ([2, NAN, INF, -INF], False),
    ],
)
def test_nan_and_infinities_must_be_where_the_reference_has_them(
    answer: list[float], accepted: bool
) -> None:
    reference = torch.tensor([1, NAN, INF, -INF])
    _, wrong = compare([torch.tensor(answer)], [reference], [reference.double()], 1)
    assert (wrong is None) == accepted


def test_an_element_that_was_never_written_is_told_as_such() -> None:
    reference = torch.ones(3)
    _, wrong = compare([torch.tensor([1, NAN, 1])], [reference], [reference.double()], 1)
    assert "1 elements are not finite or were never written" in str(wrong)


def test_an_overflow_of_the_reference_allows_nothing_elsewhere() -> None:
    reference, truth = torch.tensor([INF, 1.0]), torch.tensor([1e39, 1.0], dtype=torch.float64)
    assert compare([reference.clone()], [reference], [truth], 1)[1] is None
    assert compare([torch.tensor([INF, 2.0])], [reference], [truth], 1)[1] is not None


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_outputs_without_a_point_must_be_equal(dtype: torch.dtype) -> None:
    reference = torch.tensor([1, 0, 1]).to(dtype)
    other = torch.tensor([1, 1, 1]).to(dtype)
    assert compare([reference.clone()], [reference], [reference], 1)[1] is None
    assert "1 elements differ" in str(compare([other], [reference], [reference], 1)[1])


def test_each_output_is_judged_by_itself() -> None:
    one = torch.ones(4)
    _, wrong = compare([one, one * 2], [one, one], [one.double(), one.double()], 1)
    assert str(wrong).startswith("output 1")


def test_errors_of_zeros_are_one_whatever_the_size_of_the_numbers() -> None:
    for scale in (1e-30, 1.0, 1e30):
        truth = torch.tensor([3.0, 4.0], dtype=torch.float64) * scale
        assert errors(torch.zeros(2), truth).rms == pytest.approx(1.0)


def test_errors_by_hand() -> None:
    # Off by 1 of (3, 4): norm 1 over 5; element 3 with the mean size 3.5 in the denominator.
    found = errors(torch.tensor([4.0, 4.0]), torch.tensor([3.0, 4.0], dtype=torch.float64))
    assert (found.rms, found.largest) == pytest.approx((0.2, 1 / 6.5))


def test_the_budget_by_hand() -> None:
    unit = 2.0**-24
    none = Errors(0.0, 0.0)
    # float32: 4 u sqrt(K) until 170 u, and six times that for one element.
    assert budget(none, torch.float32, 256) == Errors(64 * unit, 384 * unit)
    assert budget(none, torch.float32, 1 << 20) == Errors(170 * unit, 1020 * unit)
    assert budget(none, torch.float32, 0) == Errors(4 * unit, 24 * unit)
    # Eight times the reference's own error where that is more.
    assert budget(Errors(1e-4, 1e-3), torch.float32, 256) == Errors(8e-4, 16e-3)
    # 16 bits: one and a half roundings, or twice the reference's error.
    assert budget(none, torch.float16, 256) == Errors(1.5 * 2**-11, 9 * 2**-11)
    assert budget(Errors(0.25, 0.5), torch.bfloat16, 256) == Errors(0.5, 2.0)


@pytest.mark.parametrize(
    "cast",
    [
        lambda x: x.float(),
        lambda x: x.to(torch.float16),
        lambda x: x.type(torch.bfloat16),
        lambda x: x.to(torch.zeros(1, dtype=torch.float16)),
        lambda x: torch.softmax(x, -1, dtype=torch.float32),
        lambda x: x.sum(-1, dtype=torch.float32),
        lambda x: torch.zeros(3, dtype=torch.float32) + x,
    ],
    ids=["float", "to", "type", "to another's", "softmax", "sum", "new tensor"],
)
def test_an_explicit_cast_is_raised_to_float64(cast: Callable[..., torch.Tensor]) -> None:
    with Promote():
        assert cast(torch.ones(3, dtype=torch.float64) / 3).dtype == torch.float64


def test_the_oracle_leaves_the_model_and_its_inputs_as_they_are() -> None:
    model = torch.nn.Linear(4, 4)
    before, x = copy.deepcopy(model.state_dict()), torch.ones(2, 4)
    (truth,) = in_float64(model, (x,), {})
    assert truth.dtype == torch.float64
    assert x.dtype == torch.float32
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_whole_numbers_stay_whole_in_the_oracle() -> None:
    table, index = torch.randn(5, 3), torch.tensor([4, 0])
    model = Formula(lambda i, t: F.embedding(i, t))
    (truth,) = in_float64(model, (index, table), {})
    assert torch.equal(truth, table.double()[index])


CONSTANT_ROWS = Problem(
    "norm",
    """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.layer_norm(x, (384,))


def get_inputs():
    return [torch.randn(64, 1).expand(64, 384).contiguous()]


def get_init_inputs():
    return []
""",
)


def test_what_the_problem_magnifies_by_itself_is_no_fault_of_the_kernels() -> None:
    """A mean that is off in its last digit makes noise of a row of equal elements."""
    cases = Cases(CONSTANT_ROWS, 1)
    case = cases.drawn[0]
    mean = case.tensors[0].mean(-1, keepdim=True)
    honest = [(case.tensors[0] - mean * (1 + 2**-24)) * 1e-5**-0.5]
    wrong = [(case.tensors[0] - mean * (1 + 2**-20)) * 1e-5**-0.5]
    strict = compare(honest, case.reference, case.truth, 384, 4.0)[1]
    assert strict is not None
    inherent = cases.inherent(case)
    assert compare(honest, case.reference, case.truth, 384, 4.0, inherent)[1] is None
    assert compare(wrong, case.reference, case.truth, 384, 4.0, inherent)[1] is not None
