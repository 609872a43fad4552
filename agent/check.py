"""Judges one candidate from a file, as ``kernelite check`` asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kernelite.errors import MachineError, UsageError
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import COMPILER, Server
from kernelite.harness.verdict import Verdict
from kernelite.kernels.backends import backend, backend_of
from kernelite.kernels.devices import cpu
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem, instantiate, read

SCHEMA = "kernelite.check/1"
NO_TIMING = Effort(rounds=0, baselines=())


def load(path: Path) -> Kernel:
    """The candidate in a file: ``.cpp`` in the native contract, ``.py`` with run or ModelNew.

    Raises:
        UsageError: the file is missing or is not text, or no backend reads it.
        MachineError: what its backend needs is not on this machine.
    """
    name = backend_of(path)
    try:
        source = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the candidate {path}: {error}") from error
    if (missing := backend(name).missing()) is not None:
        raise MachineError(missing)
    return Kernel(name, source)


def check(kernel: Kernel, problem: Problem, effort: Effort) -> Verdict:
    """The judge's verdict on one kernel.

    Raises:
        UsageError: the problem's file does not run.
        MachineError: a runner or the compiler could not do its work.
    """
    instantiate(problem, 0)  # a problem that does not run says so before any server is started
    threads = torch.get_num_threads()
    server = Server()
    compiler = Server(COMPILER) if "compile" in effort.baselines else None
    try:
        with Judge(problem, server, threads, compiler) as judge:
            return judge.evaluate(kernel, effort, cpu.detect().name)
    finally:
        server.close()
        if compiler is not None:
            compiler.close()


def check_file(candidate: Path, file: Path, workload: str, effort: Effort) -> dict[str, Any]:
    """The document that ``kernelite check --json`` prints.

    Raises:
        UsageError: a file cannot be read, or the problem does not run.
        MachineError: a runner or the compiler could not do its work.
    """
    kernel, problem = load(candidate), read(file, workload)
    verdict = check(kernel, problem, effort)
    return {
        "schema": SCHEMA, "candidate": str(candidate), "kernel": kernel.id,
        "problem": {"name": problem.name, "id": problem.id, "file": str(file)},
        **verdict.as_json(),
    }  # fmt: skip
