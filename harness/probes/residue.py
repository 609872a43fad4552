"""Is nothing left behind: work, threads, descriptors, changed state of the process?"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason
from kernelite.problems.tensors import identical

DELAY_S = 0.05
CALLS = 4
DRIVER_THREADS = 4  # what CUDA's libraries may start at their first use
WORKED_TICKS = 2  # of the kernel's clock, a hundredth of a second each; OpenMP spins for a while
TICKS = slice(11, 13)  # utime and stime in /proc/PID/stat behind the name, see proc(5)


def probe(job: Job) -> str | Failed:
    """Watched from outside, but for what only the process itself can tell.

    It takes a while, so a search leaves it to the candidates that it would keep.
    """
    if not job.effort.thorough:
        return ""
    case, pid = job.cases.drawn[0], job.runner.pid
    job.call(case)
    before, flags = _held(pid), job.runner.flags
    for _ in range(CALLS):
        outputs, _ = job.call(case)
    worked = _ticks(pid)
    time.sleep(DELAY_S)
    worked = _ticks(pid) - worked
    if not identical(outputs, job.held()):
        return _leak(Reason.STATE, f"outputs changed within {DELAY_S * 1e3:g} ms of the answer")
    if worked > WORKED_TICKS:
        return _leak(Reason.LEAK, "it goes on working after its answer")
    for name, count in _held(pid).items():
        if count > before[name]:
            return _leak(Reason.LEAK, f"{count - before[name]} more {name} after {CALLS} calls")
    # OpenMP's, and as many that PyTorch starts for a library when it is told the number.
    given, found = 2 * job.judge.threads - 1 + _of_driver(job), _held(pid)["threads"]
    if found > given:
        return _leak(Reason.LEAK, f"{found} threads where {given} were given")
    answer, _ = job.runner.ask({"do": "flags"})
    changed = [name for name, value in flags.items() if answer["flags"].get(name) != value]
    if changed:
        return _leak(Reason.LEAK, f"it changed for all: {', '.join(changed)}")
    return "nothing left behind"


def _of_driver(job: Job) -> int:
    """Threads that a GPU's driver started before the kernel was loaded, or starts when needed."""
    if not job.judge.placement.accelerator:
        return 0
    return job.runner.own_threads - 1 + DRIVER_THREADS


def _leak(reason: Reason, text: str) -> Failed:
    return Failed("probes", reason, text)


def _held(pid: int) -> dict[str, int]:
    """How many there are of what a process can hoard."""
    process = Path(f"/proc/{pid}")
    children = (process / "task" / str(pid) / "children").read_text().split()
    return {
        "threads": len(os.listdir(process / "task")),
        "descriptors": len(os.listdir(process / "fd")),
        "processes": len(children),
    }


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return sum(map(int, fields[TICKS]))
