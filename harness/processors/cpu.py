"""The CPU: memory is where it is, and each call is timed alone, to the nanosecond."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from kernelite.harness.processors import Call, Calls, Times, plain
from kernelite.kernels.kernel import Entry
from kernelite.problems.tensors import TensorSpec

NAME = "cpu"
FLUSH_BYTES = 96 << 20


class Cpu:
    """See `harness.processors.Processor`."""

    device = torch.device(NAME)

    def __init__(self) -> None:
        self.about: dict[str, str] = {}
        self.flush: torch.Tensor | None = None

    def placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return tensor

    def fetched(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors themselves."""
        return list(tensors)

    def poison(self, looks: Sequence[TensorSpec]) -> None:
        """Nothing: a runner's outputs on the CPU are poisoned one by one."""

    def late(self, call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The call's answer; on a CPU nothing is late."""
        return call(inputs)

    def flags(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def captured(self, entry: Entry, places: Sequence[list[torch.Tensor]]) -> Entry:
        """The entry itself: on a CPU nothing is recorded."""
        return entry

    def sample(self, calls: Calls) -> Times:
        """One call after another; outputs are copied at once, so that work put off shows."""
        clock, entry, spent, between, kept = time.perf_counter_ns, calls.entry, [], 0, []
        if calls.cold and self.flush is None:
            self.flush = torch.zeros(FLUSH_BYTES, dtype=torch.uint8)
        for index, turn in enumerate(calls.turns):
            before = clock()
            arguments, writes, numbers = turn
            for write, (one, two) in zip(writes, numbers, strict=True):
                write(one, two)
            if calls.cold and self.flush is not None:
                self.flush.add_(1)
            start = clock()
            results = entry(arguments)
            end = clock()
            spent.append(end - start)
            between += start - before
            if index == calls.keep:
                kept = [result.clone() for result in plain(results, self.device)]
        return Times(between, spent, kept)


class _Kind:
    """See `harness.processors.Kind`."""

    def names(self) -> list[str]:
        """There is always one."""
        return [NAME]

    def missing(self) -> str:
        """Nothing, ever."""
        return ""

    def open(self, index: int) -> Cpu:
        """All cores that the process may run on."""
        return Cpu()


KIND = _Kind()
