"""Decides whether a kernel is right and how fast it is.

The judge owns the reference, the oracle, the seeds and the decision.  It
never loads candidate code and reads nothing from a runner but bytes of
checked size.  One judge serves any number of candidates of one problem.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from kernelite.harness import building, smaller
from kernelite.harness.cases import Cases
from kernelite.harness.job import Effort, Job
from kernelite.harness.placement import CPU, Placement
from kernelite.harness.remote import CALL_TIMEOUT_S, Lost, Remote, Server
from kernelite.harness.stages import Stage, stages
from kernelite.harness.verdict import Failed, Passed, Reason, Skipped, StageReport, Verdict
from kernelite.kernels.backends import backend, pytorch
from kernelite.kernels.kernel import BuildFailed, Kernel
from kernelite.problems.problem import Problem
from kernelite.problems.shrink import shrunk

EMULATED_ELEMENTS = 1 << 10

__all__ = ["Effort", "Judge"]


class Judge:
    """Judges kernels for one problem; close it to end its runners.

    ``rivals`` holds kernels to compare with head to head: each is a baseline by its name there.

    Args:
        problem: What the kernels must compute.
        server: Forks the runners of candidates and of the eager baseline.
        threads: OpenMP threads of candidates and baselines alike.
        compiler: Forks the runner of the torch.compile baseline; None leaves that out.
        timeout_s: What a candidate may take to load, and for one call.
        seed: Of all inputs; drawn fresh if None, as it must be to be secret.
        placement: Where candidates and baselines run.  Reference and oracle are computed on the
            CPU whatever it is, so the reference's own error is what the CPU makes of its precision.
    """

    def __init__(
        self, problem: Problem, server: Server, threads: int, compiler: Server | None = None,
        timeout_s: float = CALL_TIMEOUT_S, seed: int | None = None, placement: Placement = CPU,
    ) -> None:  # fmt: skip
        self.problem, self.server, self.threads, self.compiler = problem, server, threads, compiler
        self.timeout_s, self.placement = timeout_s, placement
        self.seed = int.from_bytes(os.urandom(4)) if seed is None else seed
        self.cases = Cases(problem, self.seed)
        self._small: Cases | None = None
        self.baselines: dict[str, Remote | Lost] = {}
        self.rivals: dict[str, Kernel] = {}

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

    @property
    def small_cases(self) -> Cases:
        """The problem with axes as short as it allows, for kernels that are emulated."""
        if self._small is None:
            self._small = Cases(shrunk(self.problem, EMULATED_ELEMENTS), self.seed)
        return self._small

    def evaluate(self, kernel: Kernel, effort: Effort, device: str) -> Verdict:
        """Ask every stage in order; the first failure ends it."""
        job = Job(self, kernel, effort, device)
        reports: list[StageReport] = []
        failed: Failed | None = None
        try:
            for name, stage in stages():
                if not effort.stages or name in effort.stages:
                    failed = self._ask(name, stage, job, reports)
                if failed:
                    break
        finally:
            if job.remote is not None:
                job.remote.close()
        evaluation = failed or Passed(job.accuracy_ratio, job.timing)
        return Verdict(
            evaluation, tuple(reports), job.isolation, job.layers, self.seed, self.threads,
            "emulated" if job.emulated else "measured",
        )  # fmt: skip

    def _ask(self, name: str, stage: Stage, job: Job, reports: list[StageReport]) -> Failed | None:
        start = time.perf_counter()
        found: str | Skipped | Failed
        try:
            if stage.thorough and not job.effort.thorough:
                found = Skipped("left to the candidates that a search would keep")
            else:
                found = stage.run(job)
        except Lost as lost:
            log = str(lost)
            if lost.reason is Reason.MEMORY and self.placement.accelerator:
                log += f"; {smaller.told(job)}"
            found = Failed(name, lost.reason, log)
        seconds = time.perf_counter() - start
        match found:
            case Failed(log=log):
                reports.append(StageReport(name, "failed", log, seconds))
                return found
            case Skipped(why):
                reports.append(StageReport(name, "skipped", why, seconds))
            case _:
                reports.append(StageReport(name, "passed", found, seconds))
        return None

    def baseline(self, name: str) -> Remote | Lost:
        """The runner of ``eager``, ``compile`` or a rival, started at its first use."""
        if name not in self.baselines:
            self.baselines[name] = self._start_baseline(name)
        return self.baselines[name]

    def running(self, names: Sequence[str]) -> dict[str, Remote]:
        """The runners of those baselines that there are."""
        found = {name: self.baseline(name) for name in names}
        return {name: remote for name, remote in found.items() if isinstance(remote, Remote)}

    def restart(self, names: Sequence[str]) -> None:
        """End the runners of these baselines, to start anew; what was compiled at length stays."""
        for name in names:
            if name != "compile" and isinstance(found := self.baselines.pop(name, None), Remote):
                found.close()

    def _start_baseline(self, name: str) -> Remote | Lost:
        server, caged = self.server, name in self.rivals
        if name == "compile":
            if self.compiler is None:
                return Lost(Reason.BUILD, f"{name} was not asked for")
            server = self.compiler
        line = f"\n{pytorch.COMPILE}\n" if name == "compile" else ""
        kernel = self.rivals.get(name) or Kernel("pytorch", self.problem.source + line)
        try:
            remote = Remote(
                server, kernel, self._built(kernel, caged), self.cases.instance.signature,
                self.threads, caged, placement=self.placement,
            )  # fmt: skip
        except BuildFailed as error:
            return Lost(Reason.BUILD, str(error))
        except Lost as lost:
            return lost
        try:
            remote.set_state(self.cases.instance.state)
        except Lost as lost:
            remote.close()
            return lost
        return remote

    def _built(self, kernel: Kernel, caged: bool) -> Path:
        if not caged:
            return backend(kernel.backend).build(kernel)
        instance = self.cases.instance
        return building.build(
            self.server, kernel, instance.signature, instance.arguments, self.placement
        )
