"""Compares the speed of runners: interleaved, paired, with an interval.

Every round measures each runner once, in random order, on inputs that differ
from call to call.  A ratio is the median of the rounds' log-ratios with a
bootstrap interval.  Rounds go on until the interval is narrow or the effort
is spent.
"""

from __future__ import annotations

import fcntl
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from kernelite.harness.judge import Effort, Job
from kernelite.harness.remote import Lost, Remote
from kernelite.harness.verdict import Failed, Ratio, Reason, Timing
from kernelite.kernels.cache import cache_folder

SAMPLE_S = 3e-3
RING_BYTES = 256 << 20
NARROW = 0.01
FEWEST_ROUNDS = 10
RESAMPLES = 1000
SLACK_S = 2e-3


@contextmanager
def machine_lock() -> Iterator[None]:
    """One timing at a time on this machine, whichever process asks."""
    with open(cache_folder("locks") / "timing.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(slots=True)
class Clocked:
    """One runner under the clock."""

    remote: Remote
    calls: int = 1
    samples_us: list[float] = field(default_factory=list)
    disagreements: int = 0

    def sample(self, first: int, cold: bool) -> None:
        """Time ``calls`` calls by the runner's clock, watched by ours."""
        request = {"do": "time", "calls": self.calls, "first": first, "cold": cold}
        start = time.perf_counter()
        answer, _ = self.remote.ask(request, timeout_s=120)
        outside_s = time.perf_counter() - start
        spent = [int(ns) for ns in answer["ns"]]
        inside_s = sum(spent) * 1e-9
        too_short = not cold and outside_s > 1.25 * inside_s + SLACK_S
        if len(spent) != self.calls or inside_s > outside_s or too_short:
            self.disagreements += 1
        self.samples_us.append(float(np.median(spent)) * 1e-3)


def compare(job: Job, baselines: Mapping[str, Remote]) -> Timing | Failed:
    """The candidate against each baseline; fails if its clock or its timed outputs are false.

    Raises:
        Lost: the candidate's runner died under the clock.
    """
    assert job.remote is not None
    effort = job.effort
    sets = _ring(job)
    with machine_lock():
        candidate = _prepare(job.remote, sets, effort)
        others: dict[str, Clocked] = {}
        for name, remote in baselines.items():
            try:
                others[name] = _prepare(remote, sets, effort)
            except Lost as lost:
                job.judge.baselines[name] = lost
        if not others:
            return Failed("timing", Reason.CLOCK, "no baseline could be timed")
        checked = _rounds(candidate, others, effort)
    if candidate.disagreements > len(candidate.samples_us) // 2:
        return Failed("timing", Reason.CLOCK, "the runner's times disagree with the judge's clock")
    if failed := _check(job, sets, checked):
        return failed
    ratios = tuple(ratio(name, other, candidate) for name, other in others.items())
    return Timing(job.device, "cold" if effort.cold else "warm", ratios)


def _ring(job: Job) -> list[list[torch.Tensor]]:
    """Sets of inputs with different contents, as many as fit, at most eight."""
    size = sum(t.numel() * t.element_size() for t in job.cases.drawn[0].tensors)
    return job.cases.ring(max(1, min(8, RING_BYTES // max(size, 1))))


def _prepare(remote: Remote, sets: Sequence[Sequence[torch.Tensor]], effort: Effort) -> Clocked:
    """Hand over the inputs, warm up and choose how many calls make one sample."""
    for index, tensors in enumerate(sets):
        remote.ask({"do": "ring", "first": index == 0}, tensors)
    clocked = Clocked(remote)
    for calls in (2, 3):
        clocked.calls = calls
        clocked.sample(0, effort.cold)
    one_s = clocked.samples_us[-1] * 1e-6
    most = 3 if effort.cold else 2000
    clocked.calls = max(1, min(most, math.ceil(SAMPLE_S / max(one_s, 1e-7))))
    clocked.sample(0, effort.cold)
    clocked.samples_us.clear()
    clocked.disagreements = 0
    return clocked


def _rounds(
    candidate: Clocked, others: Mapping[str, Clocked], effort: Effort
) -> tuple[int, list[torch.Tensor]]:
    """Run the rounds; the index of one timed call of the candidate, and its outputs."""
    chance = random.SystemRandom()
    everyone = [candidate, *others.values()]
    look_at = chance.randrange(min(FEWEST_ROUNDS, effort.rounds))
    deadline = time.perf_counter() + effort.seconds
    seen: tuple[int, list[torch.Tensor]] = (0, [])
    for number in range(effort.rounds):
        for clocked in chance.sample(everyone, len(everyone)):
            first = number * clocked.calls
            clocked.sample(first, effort.cold)
            if clocked is candidate and number == look_at:
                largest = 1 << 34
                outputs = clocked.remote.ask({"do": "last"}, largest_bytes=largest)[1]
                seen = (first + clocked.calls - 1, outputs)
        enough = number + 1 >= min(FEWEST_ROUNDS, effort.rounds)
        if enough and (time.perf_counter() > deadline or _narrow(candidate, others)):
            break
    return seen


def _narrow(candidate: Clocked, others: Mapping[str, Clocked]) -> bool:
    """Whether every ratio is known to one per cent (normal approximation of the median)."""
    for other in others.values():
        logs = np.log(np.array(other.samples_us) / np.array(candidate.samples_us))
        spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        if 1.96 * 1.2533 * spread / math.sqrt(len(logs)) > NARROW:
            return False
    return True


def _check(
    job: Job, sets: Sequence[Sequence[torch.Tensor]], seen: tuple[int, list[torch.Tensor]]
) -> Failed | None:
    """Judge the outputs of one timed call."""
    index, outputs = seen
    case = job.cases.ring_case(index % len(sets))
    if len(outputs) != len(case.reference):
        return Failed("timing", Reason.SHAPE, "a timed call returned other outputs")
    return job.accept("timing", case, outputs)


def ratio(name: str, baseline: Clocked, candidate: Clocked) -> Ratio:
    """Median and 95 % interval of baseline over candidate, from paired rounds."""
    base, own = np.array(baseline.samples_us), np.array(candidate.samples_us)
    median, lower, upper = interval(base, own)
    return Ratio(
        name, median, lower, upper, float(np.median(own)), float(np.median(base)), len(own)
    )


def interval(baseline_us: np.ndarray, candidate_us: np.ndarray) -> tuple[float, float, float]:
    """Median of the paired ratios with a 95 % percentile bootstrap interval."""
    logs = np.log(baseline_us / candidate_us)
    draws = np.random.default_rng(0).integers(0, len(logs), (RESAMPLES, len(logs)))
    medians = np.median(logs[draws], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high))
