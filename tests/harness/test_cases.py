"""The inputs that a judge makes: secret, fresh, and untouched by the reference."""

from __future__ import annotations

import torch

from kernelite.harness.cases import LAYOUTS, Cases
from kernelite.problems.problem import Problem

HEAD = "import torch\nclass Model(torch.nn.Module):\n"
TAIL = "\ndef get_init_inputs():\n    return []\n"
IN_PLACE = Problem("in_place", HEAD + """
    def forward(self, x):
        return x.mul_(2) + 1

def get_inputs():
    return [torch.randn(4, 8)]
""" + TAIL)  # fmt: skip
OVERFLOWS = Problem("overflows", HEAD + """
    def forward(self, x):
        return x.exp().sum(-1).log()

def get_inputs():
    return [torch.randn(4, 8)]
""" + TAIL)  # fmt: skip
INDICES = Problem("indices", HEAD + """
    def forward(self, i, n):
        return i * n

def get_inputs():
    return [torch.randint(0, 9, (4,)), 3]
""" + TAIL)  # fmt: skip
OFFSETS = Problem("offsets", HEAD + """
    def forward(self, indices, offsets, table):
        if not bool((offsets.diff() > 0).all()):
            raise RuntimeError("offsets must ascend")
        return torch.nn.functional.embedding_bag(indices, table, offsets)

def get_inputs():
    return [torch.arange(6), torch.tensor([0, 2, 4]), torch.randn(6, 4)]
""" + TAIL)  # fmt: skip
RANKS = Problem("ranks", HEAD + """
    def forward(self, x):
        return x.argsort(-1)

def get_inputs():
    return [torch.randn(4, 8)]
""" + TAIL)  # fmt: skip
EXPANDED = Problem("expanded", HEAD + """
    def forward(self, row, x):
        return row + x

def get_inputs():
    return [torch.randn(8).expand(4, 8), torch.randn(4, 8)]
""" + TAIL)  # fmt: skip


def test_the_same_seed_gives_the_same_case_and_another_one_another(linear: Problem) -> None:
    one, same, other = (Cases(linear, seed).drawn[0] for seed in (1, 1, 2))
    assert torch.equal(one.tensors[0], same.tensors[0])
    assert torch.equal(one.state[0], same.state[0])
    assert not torch.equal(one.tensors[0], other.tensors[0])
    assert not torch.equal(one.state[0], other.state[0])


def test_drawn_cases_have_other_inputs_and_the_same_state(linear: Problem) -> None:
    drawn = Cases(linear, 1).drawn
    assert len({float(case.tensors[0].sum()) for case in drawn}) == 3
    assert all(torch.equal(case.state[0], drawn[0].state[0]) for case in drawn)


def test_the_reference_and_the_oracle_answer_the_cases_own_inputs(linear: Problem) -> None:
    for case in Cases(linear, 1).drawn:
        (x,), (weight,) = case.tensors, case.state
        assert torch.equal(case.reference[0], torch.nn.functional.linear(x, weight))
        assert torch.allclose(case.truth[0], x.double() @ weight.double().t())


def test_a_reference_that_writes_to_its_input_does_not_change_the_case() -> None:
    case = Cases(IN_PLACE, 1).drawn[0]
    assert torch.equal(case.reference[0], case.tensors[0] * 2 + 1)


def test_other_weights_are_other_weights_with_the_same_inputs(linear: Problem) -> None:
    cases = Cases(linear, 1)
    assert torch.equal(cases.other_state.tensors[0], cases.drawn[0].tensors[0])
    assert not torch.equal(cases.other_state.state[0], cases.drawn[0].state[0])


def test_changed_inputs_cover_six_decades_outliers_and_a_mean_far_from_zero(
    linear: Problem,
) -> None:
    cases = Cases(linear, 1)
    drawn = cases.drawn[0].tensors[0]
    wide, outliers, shifted = (case.tensors[0] for case in cases.ordinary())
    factor = (wide / drawn).log10()
    assert factor.min() < -3
    assert factor.max() > 1.5
    assert 1 <= int(((outliers / drawn - 50).abs() < 1e-3).sum()) < 50
    assert 99 < float(shifted.mean()) < 101


def test_inputs_on_which_the_reference_overflows_are_left_out() -> None:
    assert [case.name for case in Cases(OVERFLOWS, 1).ordinary()] == ["wide", "outliers"]


def test_a_special_value_is_put_into_one_element() -> None:
    case = Cases(OVERFLOWS, 1).special("NaN", float("nan"))
    assert case is not None
    assert int(case.tensors[0].isnan().sum()) == 1
    assert int(case.reference[0].isnan().sum()) == 1


def test_a_problem_of_whole_numbers_has_no_special_values() -> None:
    assert Cases(INDICES, 1).special("NaN", float("nan")) is None


def test_an_expanded_input_stays_expanded_and_gets_no_special_value() -> None:
    cases = Cases(EXPANDED, 1)
    assert cases.drawn[0].tensors[0].stride() == (0, 1)
    case = cases.special("NaN", float("nan"))
    assert case is not None
    assert [int(t.isnan().sum()) for t in case.tensors] == [0, 1]


def test_draws_differ_and_the_answers_to_each_are_known(linear: Problem) -> None:
    cases = Cases(linear, 1)
    draws = cases.draws(3)
    assert len({float(tensors[0].sum()) for tensors in draws}) == 3
    case = cases.case("timed call", cases.inputs_of(draws[1]))
    assert torch.equal(case.reference[0], draws[1][0] @ case.state[0].T)


def test_the_longest_sum_is_bounded_by_axes_and_by_elements_per_output(linear: Problem) -> None:
    assert Cases(linear, 1).reduction == 64
    whole = Problem("sum", OVERFLOWS.source.replace("x.exp().sum(-1).log()", "x.sum()"))
    assert Cases(whole, 1).reduction == 32


def test_another_layout_has_the_same_values_at_other_addresses() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    other = LAYOUTS["gaps and offset"](x)
    assert torch.equal(other, x)
    assert other.stride() == (9, 2)
    assert other.storage_offset() == 1
    turned = LAYOUTS["transposed"](x)
    assert torch.equal(turned, x)
    assert turned.stride() == (1, 3)
    assert LAYOUTS["broadcast"](x).stride() == (0, 1)


def test_whole_numbers_that_the_reference_needs_as_they_are_are_not_changed() -> None:
    found = Cases(OFFSETS, 3).one_changed(weights=False)
    assert found.tensors[1].tolist() == [0, 2, 4]
    assert not torch.equal(found.tensors[2], Cases(OFFSETS, 3).drawn[0].tensors[2])


def test_numbers_of_rows_that_are_whole_have_no_inherent_error() -> None:
    cases = Cases(RANKS, 1)
    assert [error.rms for error in cases.inherent(cases.drawn[0])] == [0.0]
