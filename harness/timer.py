"""Compares the speed of runners: interleaved, paired, with an interval and a control.

Every round measures each runner once, in random order, on inputs that never
repeat, and one of them twice, baseline and candidate in turn, as a second sample
helps the first: what is between the two is noise, and no claim is made about
less.  A ratio is the median of the rounds' log-ratios with a bootstrap interval.
Rounds go on until the interval is narrow or the effort is spent.
"""

from __future__ import annotations

import fcntl
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from kernelite.errors import MachineError
from kernelite.harness import gpu_clocks
from kernelite.harness.clocks import Clocked, agreeing, disturbed
from kernelite.harness.contents import Contents, chosen
from kernelite.harness.intervals import detectable, half_width, interval, logs
from kernelite.harness.job import Effort, Job
from kernelite.harness.remote import Lost, Remote
from kernelite.harness.verdict import Control, Failed, Ratio, Reason, Timing
from kernelite.kernels.cache import cache_folder
from kernelite.problems.problem import flat_tensors

SAMPLE_S, LONGEST_SAMPLE_S = 3e-3, 0.1  # of calls alone; with new inputs in between
DRAWN_BYTES, MOST_DRAWS = 128 << 20, 4
FEWEST_ROUNDS = 10
WARM_UPS = 4  # samples; each says better than the one before how many calls make the next
MOST_CALLS, MOST_COLD_CALLS = 2000, 3
MOST_GPU_CALLS = 256  # a GPU writes its whole cache in 0.1 ms, so cold calls are no rarer
FEWEST_AGREEING = 4  # rounds in which both clocks must tell the same
CHECKED = 2
GRAPH, CAPTURE_S = "graph", 120.0


@contextmanager
def machine_lock() -> Iterator[None]:
    """One timing at a time on this machine, whichever process asks."""
    with open(cache_folder("locks") / "timing.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Kept:
    """The outputs of a timed call, and which one of a sample it was."""

    seed: int
    call: int
    outputs: list[torch.Tensor]


def compare(job: Job, remote: Remote, baselines: Mapping[str, Remote]) -> Timing | Failed:
    """The candidate in ``remote`` against each baseline; fails if its clock or an answer is false.

    Raises:
        Lost: the candidate's runner died under the clock.
        MachineError: a baseline's runner did.
    """
    effort, draws = job.effort, _draws(job)
    with machine_lock():
        candidate = _prepare(remote, draws, effort)
        others: dict[str, Clocked] = {}
        for name, baseline in baselines.items():
            try:
                others[name] = _prepare(baseline, draws, effort)
            except Lost as lost:
                baseline.close()
                job.judge.baselines[name] = lost
        if not others:
            return Failed("timing", Reason.CLOCK, "no baseline could be timed")
        found = _raced(job, draws, candidate, others, "cold" if effort.cold else "warm")
        if not effort.graphs or isinstance(found, Failed):
            return found
        replayed = _replayed(job, draws, candidate, others)
    if isinstance(replayed, Timing):
        return replace(found, graph=replayed)
    return replace(found, no_graph=replayed)


def _raced(
    job: Job, draws: Sequence[Sequence[torch.Tensor]], candidate: Clocked,
    others: Mapping[str, Clocked], regime: str,
) -> Timing | Failed:  # fmt: skip
    """What the rounds say, if clock and answers are as they must."""
    gpu, honest = job.judge.placement.pci, list(others.values())
    first = honest[0]
    control = Clocked(first.remote, first.calls, placed=None, graph=first.graph)
    load, before = os.getloadavg()[0], gpu_clocks.read(gpu) if gpu else None
    kept = _rounds(job, candidate, others, control)
    clocks = gpu_clocks.between(before, gpu_clocks.read(gpu)) if gpu else None
    rounds = agreeing(candidate, honest)
    watched = bool(rounds.sum() >= min(FEWEST_AGREEING, job.effort.rounds))
    if not watched and not (rounds.any() and disturbed(candidate, honest)):
        text = f"the runner's clock and the judge's agree in {rounds.sum()} of {len(rounds)} rounds"
        return Failed("timing", Reason.CLOCK, text)
    if failed := _checked(job, draws, kept):
        return failed
    both = np.array([first.samples_us, candidate.samples_us])
    twice = both[np.arange(both.shape[1]) % 2, np.arange(both.shape[1])]
    seen = Control(*interval(twice, np.array(control.samples_us)))
    if not watched:
        candidate.samples_us, rounds = candidate.outside_us(), np.ones_like(rounds)
    ratios = tuple(ratio(name, other, candidate, rounds) for name, other in others.items())
    return Timing(
        job.device, regime, ratios, seen, load, candidate.switches, gpu=clocks, watched=watched
    )


def _replayed(
    job: Job, draws: Sequence[Sequence[torch.Tensor]], candidate: Clocked,
    others: Mapping[str, Clocked],
) -> Timing | str:  # fmt: skip
    """The rounds once more with replays of graphs; or why there are none.

    A kernel that cannot be captured, or whose replay answers otherwise, is none the worse.
    """
    try:
        own = _captured(candidate, job.effort)
    except Lost as lost:
        return f"it cannot be captured: {lost}"
    baselines = {}
    for name, other in others.items():
        with suppress(Lost):
            baselines[name] = _captured(other, job.effort)
    if not baselines:
        return "no baseline can be captured"
    try:
        found = _raced(job, draws, own, baselines, GRAPH)
    except (Lost, MachineError) as lost:
        return f"a replay was lost: {lost}"
    return found if isinstance(found, Timing) else f"its replay: {found.log}"


def _captured(clocked: Clocked, effort: Effort) -> Clocked:
    clocked.remote.ask({"do": "capture"}, timeout_s=CAPTURE_S)
    made = Clocked(clocked.remote, clocked.calls, graph=True)
    _warm_up(made, effort)
    return made


def _draws(job: Job) -> list[list[torch.Tensor]]:
    """Sets of inputs as the problem draws them, as many as fit, at most four."""
    inputs = flat_tensors(job.cases.instance.inputs)
    size = sum(t.numel() * t.element_size() for t in inputs)
    return job.cases.draws(max(2, min(MOST_DRAWS, DRAWN_BYTES // max(size, 1))))


def _prepare(remote: Remote, draws: Sequence[Sequence[torch.Tensor]], effort: Effort) -> Clocked:
    """Hand over the inputs, warm up and choose how many calls make one sample."""
    for tensors in draws:
        remote.ask({"do": "draw"}, tensors)
    remote.ask({"do": "slots", "slots": len(draws)})
    clocked = Clocked(remote, calls=2)
    _warm_up(clocked, effort)
    return clocked


def _warm_up(clocked: Clocked, effort: Effort) -> None:
    """Choose how many calls make one sample, with a few that do not count."""
    most = MOST_COLD_CALLS if effort.cold else MOST_CALLS
    if clocked.remote.placement.accelerator:
        most = MOST_GPU_CALLS
    for _ in range(WARM_UPS):
        clocked.sample(0, effort.cold)
        one_s, all_s = clocked.samples_us[-1] * 1e-6, clocked.outside_s[-1] / clocked.calls
        wanted = min(SAMPLE_S / one_s, LONGEST_SAMPLE_S / all_s)
        clocked.calls = max(1, min(most, math.ceil(wanted)))
    clocked.clear()


def _rounds(
    job: Job, candidate: Clocked, others: Mapping[str, Clocked], control: Clocked
) -> list[Kept]:
    """Run the rounds; some outputs of the candidate's timed calls."""
    effort, chance = job.effort, random.SystemRandom()
    everyone = [candidate, control, *others.values()]
    fewest = min(FEWEST_ROUNDS, effort.rounds)
    look_at = chance.sample(range(fewest), min(CHECKED, fewest))
    deadline = time.perf_counter() + effort.seconds
    seen: list[Kept] = []
    for number in range(effort.rounds):
        twin = (next(iter(others.values())), candidate)[number % 2]
        control.remote, control.calls = twin.remote, twin.calls
        for clocked in chance.sample(everyone, len(everyone)):
            looked_at = clocked is candidate and number in look_at
            keep = chance.randrange(clocked.calls) if looked_at else -1
            try:
                seed = clocked.sample(number * clocked.calls, effort.cold, keep)
            except Lost as lost:
                if clocked is candidate:
                    raise
                raise MachineError(f"a baseline was lost under the clock: {lost}") from lost
            if looked_at:
                outputs = job.held(remote=candidate.remote)
                seen.append(Kept(seed, keep, outputs))
        enough = time.perf_counter() > deadline or _narrow(candidate, others, effort.narrow)
        if number + 1 >= fewest and enough:
            break
    return seen


def _narrow(candidate: Clocked, others: Mapping[str, Clocked], share: float) -> bool:
    """Whether every ratio is known to ``share``."""
    own = np.array(candidate.samples_us)
    return all(
        half_width(logs(np.array(other.samples_us), own)) <= share for other in others.values()
    )


def _checked(
    job: Job, draws: Sequence[Sequence[torch.Tensor]], kept: Sequence[Kept]
) -> Failed | None:
    """Fill the inputs of the kept calls again, and judge what came of them."""
    tensors, writes = Contents(draws).slot()
    for one in kept:
        numbers = chosen(one.seed, one.call + 1, len(writes))[-1]
        for write, (where, turn) in zip(writes, numbers, strict=True):
            write(where, turn)
        case = job.cases.case("timed call", job.cases.inputs_of(tensors))
        if failed := job.accept("timing", case, one.outputs):
            return failed
    return None


def ratio(name: str, baseline: Clocked, candidate: Clocked, rounds: np.ndarray) -> Ratio:
    """Median and 95 % interval of baseline over candidate, from the paired rounds named."""
    base, own = np.array(baseline.samples_us)[rounds], np.array(candidate.samples_us)[rounds]
    median, lower, upper = interval(base, own)
    return Ratio(
        name, median, lower, upper, float(np.median(own)), float(np.median(base)), len(own),
        detectable(logs(base, own)),
    )  # fmt: skip
