"""One runner under the clock, and whether its clock tells what ours does."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernelite.harness.remote import Lost, Remote
from kernelite.harness.verdict import Reason

TIMEOUT_S = 120.0  # of a sample; the first one of torch.compile compiles
# What a runner's clock may miss of the judge's: a share of the time, per call, per sample.
CLOCK_SHARE, CLOCK_CALL_S, CLOCK_SAMPLE_S = 0.15, 5e-7, 3e-4
DISTURBED_SHARE = 1 / 3  # of the rounds in which an honest clock must differ as well
SECRET_BITS = 64
MOST_MOVES = 4


@dataclass(slots=True)
class Clocked:
    """One runner under the clock.

    Attributes:
        calls: How many make one sample.
        spent_s: By sample, what the calls took by the runner's clock.
        between_s: The same for what is done between two calls.
        outside_s: By sample, all of it by the judge's clock.
        switches: Times that the runner lost its core to others, in all samples.
        placed: The threads that have a core of their own; None if that was given up.
        moves: How often they were given one.
        graph: Whether its calls are replays (`harness.processors.Processor.captured`).
    """

    remote: Remote
    calls: int = 1
    samples_us: list[float] = field(default_factory=list)
    spent_s: list[float] = field(default_factory=list)
    between_s: list[float] = field(default_factory=list)
    outside_s: list[float] = field(default_factory=list)
    switches: int = 0
    placed: frozenset[int] | None = frozenset()
    moves: int = 0
    graph: bool = False

    def sample(self, first: int, cold: bool, keep: int = -1) -> int:
        """Time ``calls`` calls by the runner's clock, watched by ours; ``keep`` one's outputs.

        Returns:
            The seed of what their inputs held (`harness.contents`).

        Raises:
            Lost: the runner died, or gave no times.
        """
        seed = random.SystemRandom().getrandbits(SECRET_BITS)
        request = {"do": "time", "calls": self.calls, "first": first, "cold": cold, "keep": keep,
                   "seed": seed, "graph": self.graph}  # fmt: skip
        start = time.perf_counter()
        answer, _ = self.remote.ask(request, timeout_s=TIMEOUT_S)
        self.outside_s.append(time.perf_counter() - start)
        told: Any = answer.get("ns")
        if (
            not isinstance(told, list)
            or [type(ns) for ns in told] != [int] * (self.calls + 1)
            or min(told) < 0
        ):
            raise Lost(Reason.CLOCK, "the runner's answer has not one time for each call")
        between, *spent = told
        self.spent_s.append(sum(spent) * 1e-9)
        self.between_s.append(between * 1e-9)
        counted = spent if cold else spent[1:] or spent  # the first call finds another's caches
        self.samples_us.append(max(sum(counted), 1) * 1e-3 / len(counted))
        self.switches += int(answer.get("switches", 0))
        self.place()
        return seed

    def place(self) -> None:
        """Keep each thread on a core of its own, unless the runner makes new ones all the time.

        A new thread begins where the one is that made it, which would be slower than no order.
        """
        if self.placed is None or (threads := _threads(self.remote.pid)) == self.placed:
            return
        if self.moves < MOST_MOVES:
            self.placed, self.moves = spread(self.remote.pid), self.moves + 1
            return
        self.placed = None
        for thread in threads:
            _put(thread, os.sched_getaffinity(0))

    def gaps_s(self) -> np.ndarray:
        """What the judge's clock saw of each sample and the runner's did not."""
        inside = np.array(self.spent_s) + np.array(self.between_s)
        gaps: np.ndarray = np.array(self.outside_s) - inside
        return gaps

    def outside_us(self) -> list[float]:
        """By sample, one call by the judge's clock, all that comes with it included."""
        return [seconds * 1e6 / self.calls for seconds in self.outside_s]

    def clear(self) -> None:
        """Forget the times of the warm-up."""
        self.samples_us, self.spent_s, self.between_s, self.outside_s = [], [], [], []
        self.switches = 0


def spread(pid: int) -> frozenset[int]:
    """Give the main thread a core, and the others the rest, one by one; the threads.

    Some schedulers, of virtual machines above all, pack threads that wait for
    each other on one core.
    """
    main, *others = sorted(os.sched_getaffinity(0))
    threads = _threads(pid)
    for index, thread in enumerate(sorted(threads)):
        core = others[(index - 1) % len(others)] if index and others else main
        _put(thread, {core})
    return threads


def _threads(pid: int) -> frozenset[int]:
    return frozenset(map(int, os.listdir(f"/proc/{pid}/task")))


def _put(thread: int, cores: set[int]) -> None:
    with suppress(ProcessLookupError):
        os.sched_setaffinity(thread, cores)


def agreeing(candidate: Clocked, others: Sequence[Clocked]) -> np.ndarray:
    """The rounds in which the runner's clock and ours tell the same.

    The others are left out: a false clock gains nothing by them, and a busy
    machine loses only those.
    """
    gaps = candidate.gaps_s()
    agree: np.ndarray = (gaps >= 0) & (gaps <= _allowed_s(candidate, others))
    return agree


def disturbed(candidate: Clocked, others: Sequence[Clocked]) -> bool:
    """Whether the machine may be why clocks differ: those of honest runners do as well.

    No machine makes a runner tell more time than has passed.
    """
    gaps = np.max([other.gaps_s() for other in others], axis=0)
    off, invented = gaps > _allowed_s(candidate, others), candidate.gaps_s() < 0
    return bool(np.mean(off) >= DISTURBED_SHARE > np.mean(invented))


def _allowed_s(candidate: Clocked, others: Sequence[Clocked]) -> np.ndarray:
    """By round, what our clock may see of the candidate's sample and its own not."""
    usual_s = max(0.0, *(float(np.min(other.gaps_s())) for other in others))
    own = CLOCK_SHARE * np.array(candidate.spent_s) + CLOCK_CALL_S * candidate.calls
    allowed: np.ndarray = own + CLOCK_SAMPLE_S + usual_s
    return allowed
