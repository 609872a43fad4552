"""The tuner asks sensibly: the default first, nothing twice, and the best is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernelite.agent.proposers import Fixed
from kernelite.agent.tune import default_choices, size, tune
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.templates import Choice, Choices, Plan

SPACE: Mapping[str, Sequence[Choice]] = {
    "unroll": (1, 2, 4, 8), "order": ("rows", "columns"), "stream": (False, True),
}  # fmt: skip


@dataclass
class Recorder:
    """Scores choices by a formula and remembers them; fails where the formula says None."""

    asked: list[dict[str, Choice]]
    most: int = 1000

    def __call__(self, choices: Choices) -> float | None:
        if len(self.asked) >= self.most:
            raise StopIteration
        self.asked.append(dict(choices))
        if choices["order"] == "columns" and choices["stream"]:
            return None
        return float(choices["unroll"]) + (choices["order"] == "columns")


def plan(space: Mapping[str, Sequence[Choice]] = SPACE) -> Plan:
    return Fixed("a plan", Kernel("cpp", ""), space)


def keys(recorder: Recorder) -> list[str]:
    return [repr(sorted(choices.items())) for choices in recorder.asked]


def test_the_default_is_the_first_value_of_each_parameter() -> None:
    assert default_choices(plan()) == {"unroll": 1, "order": "rows", "stream": False}


def test_the_size_counts_every_combination() -> None:
    assert size(plan()) == 16
    assert size(plan({})) == 1


def test_the_default_is_asked_first() -> None:
    recorder = Recorder([])
    tune(plan(), recorder, trials=3, seed=1)
    assert recorder.asked[0] == default_choices(plan())


def test_no_choice_is_measured_twice_and_no_more_than_allowed() -> None:
    recorder = Recorder([])
    assert tune(plan(), recorder, trials=7, seed=1) == len(recorder.asked) == 8
    assert len(set(keys(recorder))) == 8


def test_a_small_space_does_not_make_it_ask_for_ever() -> None:
    recorder = Recorder([])
    found = tune(plan({**SPACE, "unroll": (1, 2)}), recorder, trials=100, seed=1)
    assert found == len(recorder.asked) <= 8


def test_every_value_comes_from_the_space_with_its_own_type() -> None:
    recorder = Recorder([])
    tune(plan(), recorder, trials=10, seed=2)
    for choices in recorder.asked:
        assert all(choices[name] in SPACE[name] for name in SPACE)
        assert type(choices["stream"]) is bool


def test_the_best_is_among_what_was_measured() -> None:
    recorder = Recorder([])
    tune(plan(), recorder, trials=14, seed=3)
    assert {"unroll": 8, "order": "columns", "stream": False} in recorder.asked


def test_the_same_seed_asks_the_same() -> None:
    one, same = Recorder([]), Recorder([])
    for recorder in (one, same):
        tune(plan(), recorder, trials=8, seed=5)
    assert keys(one) == keys(same)


def test_the_measure_can_end_it() -> None:
    recorder = Recorder([], most=3)
    assert tune(plan(), recorder, trials=50, seed=1) == 3


def test_a_plan_with_nothing_open_is_measured_once() -> None:
    asked: list[Choices] = []

    def measure(choices: Choices) -> float:
        asked.append(choices)
        return 0.0

    assert tune(plan({}), measure, trials=5, seed=1) == 1
    assert asked == [{}]
