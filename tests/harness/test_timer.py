"""What the clock says: intervals by hand, and real kernels against themselves and worse ones."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernelite.harness import timer
from kernelite.harness.intervals import interval
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Passed, Ratio, Reason, Timing, timing_json
from kernelite.kernels.backends import backend
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

EFFORT = Effort(rounds=15, seconds=1.0, baselines=("eager",))
SOURCE = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, -1)


def get_inputs():
    return [torch.randn(128, 512)]


def get_init_inputs():
    return []
"""


@pytest.fixture(scope="module")
def softmax(server: Server) -> Iterator[Judge]:
    """A judge for a problem of some ten microseconds and more."""
    with Judge(Problem("softmax", SOURCE), server, 1) as judge:
        yield judge


def timed(judge: Judge, body: str, before: str = "") -> Timing | Failed:
    """The clock's finding on a kernel that no other stage has looked at."""
    return clocked(judge, f"import time, torch\n{before}\ndef run(x):\n    {body}\n")


def clocked(judge: Judge, source: str) -> Timing | Failed:
    kernel = Kernel("pytorch", source)
    job = Job(judge, kernel, EFFORT, "cpu", backend("pytorch").build(kernel))
    eager = judge.baseline("eager")
    assert not isinstance(eager, Exception)
    with job.runner as remote:
        return timer.compare(job, remote, {"eager": eager})


def of_eager(found: Timing | Failed) -> Ratio:
    assert isinstance(found, Timing), found
    ratio = found.against("eager")
    assert ratio is not None
    return ratio


def test_replays_have_an_interval_of_their_own(softmax: Judge) -> None:
    kernel, eager = Kernel("pytorch", SOURCE), softmax.baseline("eager")
    assert not isinstance(eager, Exception)
    effort = replace(EFFORT, graphs=True)
    job = Job(softmax, kernel, effort, "cpu", backend("pytorch").build(kernel))
    with job.runner as remote:
        tries = (timer.compare(job, remote, {"eager": eager}) for _ in range(5))  # if it is busy
        found = next(one for one in tries if isinstance(one, Timing) and one.graph)
    assert found.graph is not None
    assert (found.regime, found.graph.regime, found.graph.graph) == ("warm", "graph", None)
    document = timing_json(found)
    assert document["median"] == of_eager(found).median
    assert document["graph"]["median"] == of_eager(found.graph).median
    assert of_eager(found) != of_eager(found.graph)


def test_the_interval_of_a_constant_ratio_is_that_ratio() -> None:
    one = np.array([1.0, 5.0, 2.0, 9.0])
    assert interval(3 * one, one) == pytest.approx((3, 3, 3))


def test_the_median_is_of_paired_ratios_not_of_times() -> None:
    base, own = np.array([10.0, 200.0, 3000.0]), np.array([10.0, 100.0, 1000.0])
    median, lower, upper = interval(base, own)
    assert median == pytest.approx(2)
    assert (lower, upper) == pytest.approx((1, 3))


def test_one_disturbed_round_does_not_move_the_median() -> None:
    base, own = np.full(21, 2.0), np.full(21, 1.0)
    own[3], base[7] = 500.0, 900.0
    assert interval(base, own)[0] == pytest.approx(2)


def test_swapping_both_sides_inverts_the_interval() -> None:
    chance = np.random.default_rng(3)
    base, own = chance.uniform(1, 2, 40), chance.uniform(1, 2, 40)
    median, lower, upper = interval(base, own)
    assert interval(own, base) == pytest.approx((1 / median, 1 / upper, 1 / lower), rel=1e-2)


def test_the_interval_covers_the_truth_in_nine_of_ten_cases_and_more() -> None:
    chance = np.random.default_rng(4)
    hits = 0
    for _ in range(100):
        noise = chance.normal(0, 0.05, 30)
        _, lower, upper = interval(1.5 * np.exp(noise), np.ones(30))
        hits += lower <= 1.5 <= upper
    assert hits >= 90


def test_a_kernel_against_itself_is_neither_faster_nor_slower(softmax: Judge) -> None:
    ratio = of_eager(clocked(softmax, SOURCE))
    assert ratio.lower <= 1.15
    assert ratio.upper >= 1 / 1.15


def test_a_kernel_that_does_its_work_four_times_is_slower(softmax: Judge) -> None:
    body = "return [torch.softmax(x, -1) for _ in range(4)][-1]"
    ratio = of_eager(timed(softmax, body))
    assert 0.05 < ratio.median < 0.7
    assert ratio.upper < 0.9


@pytest.mark.parametrize("clock", ["now() // 2", "now() // 50", "0"])
def test_a_clock_that_runs_slow_is_found_out(softmax: Judge, clock: str) -> None:
    before = f"now = time.perf_counter_ns\ntime.perf_counter_ns = lambda: {clock}"
    found = timed(softmax, "return torch.softmax(x, -1)", before)
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("timing", Reason.CLOCK)


def test_a_clock_that_runs_fast_is_found_out(softmax: Judge) -> None:
    before = "now = time.perf_counter_ns\ntime.perf_counter_ns = lambda: 3 * now()"
    found = timed(softmax, "return torch.softmax(x, -1)", before)
    assert isinstance(found, Failed)
    assert "agree in" in found.log


def test_work_that_is_put_off_to_one_call_in_many_counts_in_full(softmax: Judge) -> None:
    body = """
    calls.append(1)
    if len(calls) % 9 == 0:
        [torch.softmax(x, -1) for _ in range(27)]
    return torch.softmax(x, -1)"""
    ratio = of_eager(timed(softmax, body.strip(), "calls = []"))
    assert 0.05 < ratio.median < 0.7


def test_outputs_of_timed_calls_are_judged(softmax: Judge) -> None:
    found = timed(softmax, "return torch.full_like(x, 1 / 512)")
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("timing", Reason.NUMERIC)


def test_a_timing_says_device_regime_and_rounds(softmax: Judge) -> None:
    kernel = Kernel("pytorch", "import torch\ndef run(x):\n    return torch.softmax(x, -1)\n")
    found = softmax.evaluate(kernel, EFFORT, "a CPU").evaluation
    assert isinstance(found, Passed)
    timing = found.timing
    assert timing is not None
    assert (timing.kind, timing.device, timing.regime) == ("measured", "a CPU", "warm")
    assert 0 < timing.worst.rounds <= 15
    assert timing.worst.lower <= timing.worst.median <= timing.worst.upper
    assert timing.worst.candidate_us > 0


def test_two_timings_on_one_machine_take_turns() -> None:
    path = cache_folder("locks") / "timing.lock"
    with timer.machine_lock(), open(path, "w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
