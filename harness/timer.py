"""Compares the speed of runners: interleaved, paired, with an interval.

Every round measures each runner once, in random order, on inputs that differ
from call to call.  A ratio is the median of the rounds' log-ratios with a
bootstrap interval.  Rounds go on until the interval is narrow or the effort
is spent.
"""

from __future__ import annotations

import fcntl
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import torch

from kernelite.errors import MachineError
from kernelite.harness.judge import Effort, Job
from kernelite.harness.remote import Lost, Remote
from kernelite.harness.verdict import Failed, Ratio, Reason, Timing
from kernelite.kernels.cache import cache_folder

SAMPLE_S = 3e-3
TIMEOUT_S = 120.0  # of a sample; the first one of torch.compile compiles
RING_BYTES = 256 << 20
FEWEST_ROUNDS = 10
RESAMPLES = 1000
WARM_UPS = 4  # samples; each says better than the one before how many calls make the next
MOST_CALLS = 2000
# What a runner's clock may miss of the judge's: a share of the time, per call, per sample.
CLOCK_SHARE, CLOCK_CALL_S, CLOCK_SAMPLE_S = 0.15, 5e-7, 3e-4
FEWEST_AGREEING = 4  # rounds in which both clocks must tell the same
CHECKED = 2


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
    inside_s: list[float] = field(default_factory=list)
    outside_s: list[float] = field(default_factory=list)

    def sample(self, first: int, cold: bool, keep: int = 0) -> None:
        """Time ``calls`` calls by the runner's clock, watched by ours.

        Raises:
            Lost: the runner died, or gave no times.
        """
        request = {"do": "time", "calls": self.calls, "first": first, "cold": cold, "keep": keep}
        start = time.perf_counter()
        answer, _ = self.remote.ask(request, timeout_s=TIMEOUT_S)
        self.outside_s.append(time.perf_counter() - start)
        spent = answer.get("ns")
        if not isinstance(spent, list) or [type(ns) for ns in spent] != [int] * self.calls:
            raise Lost(Reason.CLOCK, "the runner's answer has not one time for each call")
        self.inside_s.append(sum(spent) * 1e-9)
        counted = spent if cold else spent[1:] or spent  # the first call finds another's caches
        self.samples_us.append(max(sum(counted), 1) * 1e-3 / len(counted))

    def gaps_s(self) -> np.ndarray:
        """What the judge's clock saw of each sample and the runner's did not."""
        gaps: np.ndarray = np.array(self.outside_s) - np.array(self.inside_s)
        return gaps

    def clear(self) -> None:
        """Forget the warm-up."""
        self.samples_us, self.inside_s, self.outside_s = [], [], []


def compare(job: Job, baselines: Mapping[str, Remote]) -> Timing | Failed:
    """The candidate against each baseline; fails if its clock or its timed outputs are false.

    Raises:
        Lost: the candidate's runner died under the clock.
        MachineError: a baseline's runner did.
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
                remote.close()
                job.judge.baselines[name] = lost
        if not others:
            return Failed("timing", Reason.CLOCK, "no baseline could be timed")
        checked = _rounds(job, candidate, others)
    rounds = _agreeing(candidate, list(others.values()), effort.cold)
    if rounds.sum() < min(FEWEST_AGREEING, effort.rounds):
        text = f"the runner's clock and the judge's agree in {rounds.sum()} of {len(rounds)} rounds"
        return Failed("timing", Reason.CLOCK, text)
    for index, outputs in checked:
        if failed := job.accept("timing", job.cases.ring_case(index % len(sets)), outputs):
            return failed
    ratios = tuple(ratio(name, other, candidate, rounds) for name, other in others.items())
    return Timing(job.device, "cold" if effort.cold else "warm", ratios)


def _ring(job: Job) -> list[list[torch.Tensor]]:
    """Sets of inputs with different contents, as many as fit, at most eight."""
    size = sum(t.numel() * t.element_size() for t in job.cases.drawn[0].tensors)
    return job.cases.ring(max(2, min(8, RING_BYTES // max(size, 1))))


def _prepare(remote: Remote, sets: Sequence[Sequence[torch.Tensor]], effort: Effort) -> Clocked:
    """Hand over the inputs, warm up and choose how many calls make one sample."""
    for index, tensors in enumerate(sets):
        remote.ask({"do": "ring", "first": index == 0}, tensors)
    clocked, most = Clocked(remote, calls=2), 3 if effort.cold else MOST_CALLS
    for _ in range(WARM_UPS):
        clocked.sample(0, effort.cold)
        spread(remote.pid)
        one_s = clocked.samples_us[-1] * 1e-6
        clocked.calls = max(1, min(most, math.ceil(SAMPLE_S / one_s)))
    clocked.clear()
    return clocked


def spread(pid: int) -> None:
    """Give the main thread a core, and the others the rest, one by one.

    Some schedulers, of virtual machines above all, pack threads that wait for
    each other on one core.
    """
    main, *others = sorted(os.sched_getaffinity(0))
    threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    for index, thread in enumerate(threads):
        core = others[(index - 1) % len(others)] if index and others else main
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, {core})


def _rounds(
    job: Job, candidate: Clocked, others: Mapping[str, Clocked]
) -> list[tuple[int, list[torch.Tensor]]]:
    """Run the rounds; the indices of some timed calls of the candidate, and their outputs."""
    effort, chance = job.effort, random.SystemRandom()
    everyone = [candidate, *others.values()]
    fewest = min(FEWEST_ROUNDS, effort.rounds)
    look_at = chance.sample(range(fewest), min(CHECKED, fewest))
    deadline = time.perf_counter() + effort.seconds
    seen: list[tuple[int, list[torch.Tensor]]] = []
    for number in range(effort.rounds):
        for clocked in chance.sample(everyone, len(everyone)):
            first, keep = number * clocked.calls, chance.randrange(clocked.calls)
            try:
                clocked.sample(first, effort.cold, keep)
            except Lost as lost:
                if clocked is candidate:
                    raise
                raise MachineError(f"a baseline was lost under the clock: {lost}") from lost
            if clocked is candidate and number in look_at:
                seen.append((first + keep, job.outputs("kept")))
        if number + 1 >= fewest and (
            time.perf_counter() > deadline or _narrow(candidate, others, effort.narrow)
        ):
            break
    return seen


def _narrow(candidate: Clocked, others: Mapping[str, Clocked], share: float) -> bool:
    """Whether every ratio is known to ``share`` (normal approximation of the median)."""
    for other in others.values():
        logs = np.log(np.array(other.samples_us) / np.array(candidate.samples_us))
        spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        if 1.96 * 1.2533 * spread / math.sqrt(len(logs)) > share:
            return False
    return True


def _agreeing(candidate: Clocked, others: Sequence[Clocked], cold: bool) -> np.ndarray:
    """The rounds in which the runner's clock and ours tell the same.

    The others are left out: a false clock gains nothing by them, and a busy
    machine loses only those.
    """
    gaps, inside = candidate.gaps_s(), np.array(candidate.inside_s)
    usual_s = max(0.0, *(float(np.min(other.gaps_s())) for other in others))
    allowed = CLOCK_SHARE * inside + CLOCK_CALL_S * candidate.calls + CLOCK_SAMPLE_S
    return (gaps >= 0) & (cold | (gaps <= allowed + usual_s))


def ratio(name: str, baseline: Clocked, candidate: Clocked, rounds: np.ndarray) -> Ratio:
    """Median and 95 % interval of baseline over candidate, from the paired rounds named."""
    base, own = np.array(baseline.samples_us)[rounds], np.array(candidate.samples_us)[rounds]
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
