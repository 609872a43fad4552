"""Whether a runner's clock can be believed, told from the gaps between two clocks."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kernelite.harness.clocks import Clocked, agreeing, disturbed
from kernelite.harness.verdict import Ratio, Timing

ROUNDS, SPENT_S, USUAL_S = 12, 3e-3, 1e-4


def runner(*gaps_s: float) -> Clocked:
    """One whose samples took 3 ms by its own clock, and by ours so much more."""
    found = Clocked(cast(Any, None), calls=10)
    repeated = [gaps_s[i % len(gaps_s)] for i in range(ROUNDS)]
    found.spent_s, found.between_s = [SPENT_S] * ROUNDS, [0.0] * ROUNDS
    found.outside_s = [SPENT_S + gap for gap in repeated]
    return found


def test_a_clock_that_runs_slow_beside_honest_ones_is_the_candidates_doing() -> None:
    candidate, honest = runner(SPENT_S), [runner(USUAL_S)]
    assert agreeing(candidate, honest).sum() == 0
    assert not disturbed(candidate, honest)


def test_where_honest_clocks_are_off_as_well_it_is_the_machines_doing() -> None:
    candidate, honest = runner(SPENT_S), [runner(USUAL_S), runner(USUAL_S, 2 * SPENT_S)]
    assert agreeing(candidate, honest).sum() == 0
    assert disturbed(candidate, honest)


def test_time_that_never_passed_agrees_with_nobody() -> None:
    candidate, honest = runner(-USUAL_S), [runner(2 * SPENT_S)]
    assert agreeing(candidate, honest).sum() == 0
    assert not disturbed(candidate, honest)


@pytest.mark.parametrize(("watched", "claim"), [(True, "faster"), (False, "noisy")])
def test_times_that_our_clock_could_not_confirm_claim_nothing(watched: bool, claim: str) -> None:
    ratio = Ratio("eager", 2.0, 1.9, 2.1, 10.0, 20.0, 12)
    assert Timing("a CPU", "warm", (ratio,), watched=watched).claim(ratio) == claim
