"""A candidate compiled for GPUs that are not there, each in a caged process of its own.

The process runs the candidate's host code, so that what it answers could be
forged by it: the answer describes a kernel and says nothing of its being right.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kernelite.errors import MachineError
from kernelite.harness.remote import Line, Lost, Server
from kernelite.harness.verdict import Reason
from kernelite.kernels.devices.occupancy import Occupancy, occupancy
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target, check_version
from kernelite.kernels.targets.records import Compiled, Configuration, Kind, Trouble
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.tensors import specs

#: What the server of the processes has to import; not `kernels.backends._interpreter`, ever.
PRELOAD = "kernelite.kernels.targets.compiling"
TIMEOUT_S = 150.0
LARGEST_BYTES = 1 << 20
FORGED = Trouble(Kind.CRASH, "the process answered something else than facts about kernels")


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What came of one target, in so many seconds."""

    target: Target
    compiled: Compiled
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """All that is known and what follows from it, as JSON values."""
        limits = self.target.gpu.limits
        granule = limits.shared_granule
        return {
            "target": self.target.arch, "device": self.target.gpu.name, "seconds": self.seconds,
            **asdict(self.compiled),
            "configurations": [self._described(one) for one in self.compiled.configurations],
            "occupancy_source": granule and granule.source,
        }  # fmt: skip

    def occupancy(self, one: Configuration) -> Occupancy | None:
        """Modelled; None if anything that it follows from is unknown."""
        return occupancy(
            self.target.gpu.limits, one.binary.registers, one.shared_bytes, one.warps,
            one.tensor_columns or 0,
        )  # fmt: skip

    def _described(self, one: Configuration) -> dict[str, Any]:
        room = self.occupancy(one)
        return {**asdict(one), "occupancy": room and asdict(room)}


@dataclass(frozen=True, slots=True)
class Report:
    """What came of each target, compiled by this version of Triton."""

    triton: str
    targets: tuple[TargetReport, ...]


def server() -> Server:
    """One for `crosscompile`.

    Raises:
        MachineError: Triton is not installed, or a version that is not known.
    """
    check_version()
    return Server(PRELOAD)


def crosscompile(
    server: Server, kernel: Kernel, problem: Problem, targets: Sequence[Target]
) -> Report:
    """Compile every kernel that the host code launches for the problem's inputs.

    Raises:
        UsageError: the problem's file does not run.
        MachineError: a process could not be started, or Triton's version is not known.
    """
    instance = instantiate(problem, 0)
    request = {
        "do": "crosscompile", "backend": kernel.backend, "source": kernel.source,
        "signature": instance.call.as_json(),
        "arguments": [look.as_json() for look in specs(instance.arguments)],
    }  # fmt: skip
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = threads.map(lambda target: _one(server, request, target), targets)
        return Report(check_version(), tuple(found))


def _one(server: Server, request: dict[str, Any], target: Target) -> TargetReport:
    start = time.perf_counter()
    with Line(server, TIMEOUT_S) as line:
        try:
            answer, _ = line.ask({**request, "target": target.gpu.name})
            compiled = _checked(answer)
        except Lost as lost:
            if lost.kind == MachineError.__name__:
                raise MachineError(lost.text) from lost
            kind = Kind.TIMEOUT if lost.reason is Reason.TIMEOUT else Kind.CRASH
            compiled = Compiled([], Trouble(kind, str(lost)))
    return TargetReport(target, compiled, time.perf_counter() - start)


def _checked(answer: dict[str, Any]) -> Compiled:
    """The answer, if it is one; the candidate could have written it."""
    try:
        if len(json.dumps(answer)) > LARGEST_BYTES:
            return Compiled([], FORGED)
        return TypeAdapter(Compiled).validate_python(answer)
    except (ValidationError, RecursionError):
        return Compiled([], FORGED)
