"""Decides whether a kernel is right and how fast it is.

The judge owns the reference, the oracle, the seeds and the decision.  It
never loads candidate code and reads nothing from a runner but bytes of
checked size.  One judge serves any number of candidates of one problem.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kernelite.harness.cases import Case, Cases
from kernelite.harness.remote import CALL_TIMEOUT_S, Lost, Remote, Server
from kernelite.harness.stages import Stage, stages
from kernelite.harness.verdict import Failed, Passed, Reason, StageReport, Timing, Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem
from kernelite.problems.tensors import specs


@dataclass(frozen=True, slots=True)
class Effort:
    """How much timing to spend.

    Attributes:
        rounds: Paired samples at most; 0 for no timing.
        seconds: Wall time at most.
        cold: Clear the caches before each call.
        baselines: Which of ``eager`` and ``compile`` to compare with.
        narrow: Half width, as a share, of an interval that needs no more rounds.
    """

    rounds: int = 40
    seconds: float = 8.0
    cold: bool = False
    baselines: tuple[str, ...] = ("eager", "compile")
    narrow: float = 0.01


class Judge:
    """Judges kernels for one problem; close it to end its runners.

    Args:
        problem: What the kernels must compute.
        server: Forks the runners of candidates and of the eager baseline.
        threads: OpenMP threads of candidates and baselines alike.
        compiler: Forks the runner of the torch.compile baseline; None leaves that out.
        timeout_s: What a candidate may take to load, and for one call.
    """

    def __init__(
        self, problem: Problem, server: Server, threads: int, compiler: Server | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:  # fmt: skip
        self.problem, self.server, self.threads, self.compiler = problem, server, threads, compiler
        self.timeout_s = timeout_s
        self.seed = int.from_bytes(os.urandom(4))
        self.cases = Cases(problem, self.seed)
        self.baselines: dict[str, Remote | Lost] = {}
        self.admitted: str | Failed | None = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the runners of the baselines."""
        for remote in self.baselines.values():
            if isinstance(remote, Remote):
                remote.close()
        self.baselines.clear()

    def evaluate(self, kernel: Kernel, effort: Effort, device: str) -> Verdict:
        """Ask every stage in order; the first failure ends it."""
        job = Job(self, kernel, effort, device)
        reports: list[StageReport] = []
        failed: Failed | None = None
        try:
            for name, stage in stages():
                failed = self._ask(name, stage, job, reports)
                if failed:
                    break
        finally:
            if job.remote is not None:
                job.remote.close()
        evaluation = failed or Passed(job.accuracy_ratio, job.timing)
        return Verdict(
            evaluation, tuple(reports), job.isolation, job.layers, self.seed, self.threads
        )

    def _ask(self, name: str, stage: Stage, job: Job, reports: list[StageReport]) -> Failed | None:
        start = time.perf_counter()
        try:
            found = stage.run(job)
        except Lost as lost:
            found = Failed(name, lost.reason, str(lost))
        seconds = time.perf_counter() - start
        if isinstance(found, Failed):
            reports.append(StageReport(name, "failed", found.log, seconds))
            return found
        reports.append(StageReport(name, "passed", found, seconds))
        return None

    def baseline(self, name: str) -> Remote | Lost:
        """The runner of ``eager`` or ``compile``, started at its first use."""
        if name not in self.baselines:
            self.baselines[name] = self._start_baseline(name)
        return self.baselines[name]

    def _start_baseline(self, name: str) -> Remote | Lost:
        from kernelite.kernels.backends.pytorch import BACKEND, COMPILE

        server = self.compiler if name == "compile" else self.server
        if server is None:
            return Lost(Reason.BUILD, f"{name} was not asked for")
        line = f"\n{COMPILE}\n" if name == "compile" else ""
        kernel = Kernel("pytorch", self.problem.source + line)
        try:
            remote = Remote(
                server, kernel, BACKEND.build(kernel), self.cases.instance.signature,
                self.threads, caged=False,
            )  # fmt: skip
        except Lost as lost:
            return lost
        try:
            remote.ask({"do": "state"}, self.cases.instance.state)
        except Lost as lost:
            remote.close()
            return lost
        return remote


@dataclass(slots=True)
class Job:
    """One kernel on its way through the stages; stages write what later ones need."""

    judge: Judge
    kernel: Kernel
    effort: Effort
    device: str
    artefact: Path | None = None
    remote: Remote | None = None
    accuracy_ratio: float = 0.0
    timing: Timing | None = None
    isolation: int = 0
    layers: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> Cases:
        """The inputs and answers of the problem."""
        return self.judge.cases

    def start(self) -> Remote:
        """A runner with the kernel loaded and the problem's state in it."""
        assert self.artefact is not None
        self.remote = Remote(
            self.judge.server, self.kernel, self.artefact, self.cases.instance.signature,
            self.judge.threads, timeout_s=self.judge.timeout_s,
        )  # fmt: skip
        self.isolation, self.layers = self.remote.isolation, self.remote.layers
        self.remote.ask({"do": "state"}, self.cases.instance.state)
        return self.remote

    def call(
        self, tensors: Sequence[torch.Tensor], echo: bool = False, reuse: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Outputs of one call, and the arguments as they are after it if ``echo`` is asked for.

        Args:
            tensors: The inputs.
            echo: Ask for the arguments, inputs and state, as well.
            reuse: Put the inputs where those of the call before were, behind the kernel's back.

        Raises:
            Lost: the call failed, or the outputs do not look as they must.
        """
        own = [*tensors, *self.cases.instance.state] if echo else []
        answer, results = self._ask({"do": "call", "echo": echo, "reuse": reuse}, tensors, own)
        count = answer.get("outputs")
        if type(count) is not int or count + len(own) != len(results):
            raise Lost(Reason.CRASH, "an answer that does not say which tensors are outputs")
        return self._looked_at(results[:count]), results[count:]

    def outputs(self, which: str) -> list[torch.Tensor]:
        """What the runner still holds of a call: ``earlier`` or ``kept`` (`harness.runner`).

        Raises:
            Lost: the runner has died, or the outputs do not look as they must.
        """
        return self._looked_at(self._ask({"do": which})[1])

    def _ask(
        self, header: dict[str, Any], tensors: Sequence[torch.Tensor] = (),
        more: Sequence[torch.Tensor] = (),
    ) -> tuple[dict[str, Any], list[torch.Tensor]]:  # fmt: skip
        """One request; the answer may hold the outputs, ``more`` and as many gaps between them."""
        assert self.remote is not None
        looks = (*self.cases.instance.signature.outputs, *specs(more))
        allowed = sum(s.numel * getattr(torch, s.dtype).itemsize for s in looks)
        return self.remote.ask(header, tensors, largest_bytes=2 * allowed + 4096)

    def _looked_at(self, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs, if each has the shape and type of the reference's."""
        wanted = self.cases.instance.signature.outputs
        if len(outputs) != len(wanted):
            raise Lost(Reason.SHAPE, f"{len(outputs)} outputs; the reference has {len(wanted)}")
        for index, (got, spec) in enumerate(zip(specs(outputs), wanted, strict=True)):
            if got.dtype != spec.dtype:
                raise Lost(Reason.DTYPE, f"output {index} is {got.dtype}; must be {spec.dtype}")
            if got.shape != spec.shape:
                raise Lost(
                    Reason.SHAPE, f"output {index} has shape {got.shape}; must be {spec.shape}"
                )
        return outputs

    def accept(self, stage: str, case: Case, outputs: Sequence[torch.Tensor]) -> Failed | None:
        """Compare outputs with the case's oracle; keep the largest error seen."""
        from kernelite.harness.oracle import compare

        ratio, wrong = compare(outputs, case.reference, case.truth, self.cases.reduction)
        self.accuracy_ratio = max(self.accuracy_ratio, ratio)
        return Failed(stage, Reason.NUMERIC, f"{case.name}: {wrong}") if wrong else None
