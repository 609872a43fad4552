"""Judges one candidate from a file, as ``kernelite check`` asks for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType

from kernelite.agent import documents, reproduction, tables, targets
from kernelite.errors import MachineError, UsageError
from kernelite.harness import cage, kernel_profile, processors, sources, trial
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.kernel_profile import Profile
from kernelite.harness.remote import COMPILER, Server
from kernelite.harness.stages import stages
from kernelite.harness.verdict import Verdict
from kernelite.kernels.backends import backend, backend_of
from kernelite.kernels.devices import cpu
from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import Policy
from kernelite.problems.problem import Problem, instantiate, read

SCHEMA = "kernelite.check/1"
NO_TIMING = Effort(rounds=0, baselines=())
TIMING = Effort(rounds=200, seconds=1.2, processes=3, replay=True)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged and how.

    Attributes:
        policy: For problems that declare none.
        stages: Names of the only ones to ask; empty for all.
        seed: Of the inputs; None for a secret one.
        isolation: Least level of the cage to run at.
        failures: Folder in which a failure is kept; it gets a folder of its own.
        device: Where it runs: ``cpu``, ``cuda`` or ``cuda:1``.
        targets: Names of GPUs to compile the kernel for as well.
        profile: Tell what a right kernel does to the GPU.
    """

    candidate: Path
    problem: Path
    workload: str = ""
    policy: str = Policy.STRICT
    timing: bool = True
    cold: bool = False
    stages: tuple[str, ...] = ()
    seed: int | None = None
    isolation: int = 0
    failures: Path = Path("runs/failures")
    device: str = "cpu"
    targets: tuple[str, ...] = ()
    profile: bool = False


def load(path: Path) -> Kernel:
    """The candidate in a file: ``.cpp`` in the native contract, ``.py`` with run or ModelNew.

    Raises:
        UsageError: the file is missing or is not text, or no backend reads it.
        MachineError: what its backend needs is not on this machine.
    """
    try:
        source = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the candidate {path}: {error}") from error
    name = backend_of(path, source)
    if (missing := backend(name).missing()) is not None:
        raise MachineError(missing)
    return Kernel(name, source)


def check(
    kernel: Kernel, problem: Problem, effort: Effort, seed: int | None = None,
    device: str = "cpu", isolation: int = 0,
) -> Verdict:  # fmt: skip
    """The judge's verdict on one kernel, run on ``device`` at ``isolation`` or above.

    Raises:
        UsageError: the problem's file does not run.
        MachineError: a runner or the compiler could not do its work.
    """
    instantiate(problem, 0)  # a problem that does not run says so before any server is started
    threads = torch.get_num_threads()
    server = Server()
    compiler = Server(COMPILER) if "compile" in effort.baselines else None
    try:
        placement = trial.placement(server, device, isolation)
        with Judge(problem, server, threads, compiler, seed=seed, placement=placement) as judge:
            return judge.evaluate(kernel, effort, placement.model or cpu.detect().name)
    finally:
        server.close()
        if compiler is not None:
            compiler.close()


def profiled(kernel: Kernel, problem: Problem, device: str) -> Profile:
    """What a kernel does to the device; see `harness.kernel_profile`.

    Raises:
        MachineError: a runner or the compiler could not do its work.
    """
    with closing(Server()) as server:
        placement = trial.placement(server, device)
        with Judge(problem, server, torch.get_num_threads(), placement=placement) as judge:
            job = Job(judge, kernel, NO_TIMING, placement.model)
            with job.runner:
                return kernel_profile.profile(job)


def check_file(request: Request) -> dict[str, Any]:
    """The document that ``kernelite check --json`` prints; a failure is kept to reproduce it.

    Raises:
        UsageError: a file cannot be read, the problem does not run, or a name that there is not.
        MachineError: a runner or the compiler could not do its work, or the cage is too weak.
    """
    kernel, problem = load(request.candidate), read(request.problem, request.workload)
    device = _device(request.device, kernel)
    wanted = targets.asked(request.targets, kernel)
    cage.require(request.isolation)
    effort = replace(
        TIMING if request.timing else NO_TIMING, cold=request.cold, stages=request.stages,
        policy=_policy(request.policy), graphs=device != "cpu",
    )  # fmt: skip
    verdict = check(kernel, problem, effort, request.seed, device, request.isolation)
    found = sources.findings(kernel.source, kernel.backend)
    document = {
        "schema": SCHEMA, "versions": documents.versions(), "candidate": str(request.candidate),
        "kernel": kernel.id, "backend": kernel.backend,
        "problem": {"name": problem.name, "id": problem.id, "file": str(request.problem)},
        "policy": request.policy, "device": device,
        "findings": [{"line": f.line, "what": f.what, "why": f.why, "fatal": f.fatal}
                     for f in found],
        **verdict.as_json(), "reproduction": None, "targets": [], "profile": None,
    }  # fmt: skip
    if not verdict.passed:
        folder = reproduction.write(request.failures, kernel, problem, document)
        document["reproduction"] = str(folder)
    elif request.profile:
        document["profile"] = profiled(kernel, problem, device).as_json()
    if not any(f.fatal for f in found):  # a cage that may run compilers is not for those
        document["targets"] = targets.compiled(kernel, problem, wanted)
    return document


def names(texts: Sequence[str] | None) -> list[str]:
    """The names in an option that may be repeated and may hold several, separated by commas."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def known_stages(asked: Iterable[str]) -> None:
    """Refuse names of stages that there are not.

    Raises:
        UsageError: the message lists those there are.
    """
    known = [name for name, _ in stages()]
    for name in asked:
        if name not in known:
            raise UsageError(f"no stage {name!r}; there are: {', '.join(known)}")


def explained(document: Mapping[str, Any], name: str) -> RenderableType:
    """What one stage asks, by which rule, and what it found here."""
    stage = dict(stages())[name]
    found = next((one for one in document["stages"] if one["name"] == name), None)
    lines = [inspect.getdoc(inspect.getmodule(stage)), "", inspect.getdoc(type(stage)), ""]
    if found is None:
        lines.append(f"It was not asked: {document['stage'] or 'no stage'} came first.")
    else:
        lines.append(f"{found['status']} in {found['seconds']:.3f} s: {found['evidence']}")
    if name == "static":
        lines += [f"line {f['line']}: {f['what']}: {f['why']}" for f in document["findings"]]
    return Group(*(tables.plain(line or "") for line in lines))


def _device(name: str, kernel: Kernel) -> str:
    found, kinds = processors.require(name), backend(kernel.backend).devices
    if found.partition(":")[0] not in kinds:
        raise UsageError(
            f"{kernel.backend} kernels cannot be judged on {found}; they can on: {', '.join(kinds)}"
        )
    return found


def _policy(name: str) -> Policy:
    if name not in list(Policy):
        raise UsageError(f"no policy {name!r}; there are: {', '.join(Policy)}")
    return Policy(name)
