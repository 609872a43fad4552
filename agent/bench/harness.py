"""What the harness costs, and whether its claims hold where the truth is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import Request, Say, _peers, _slowed
from kernelite.agent.bench._judge import KERNEL, NO_TIMING, PROBLEM
from kernelite.agent.bench._model_new import submission
from kernelite.agent.check import TIMING
from kernelite.agent.documents import versions
from kernelite.errors import MachineError
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Timing, Verdict
from kernelite.kernels.devices import cpu
from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import Policy

SCHEMA = "kernelite.bench-harness/1"
STRICT = Effort(rounds=0, baselines=(), policy=Policy.STRICT, replay=True)
TIMED = replace(TIMING, baselines=("eager",), policy=Policy.STRICT)
WRONG = Kernel("cpp", KERNEL.source.replace("y[i] /= sum", "y[i] /= sum + i"))
REPEATS, TIMED_REPEATS, PEER_REPEATS = 20, 3, 7
OURS = ("all stages, no timing", "all stages and timing")
THEIRS = ("KernelBench, as a script", "KernelBench, evaluation alone")
EVALUATIONS = 300
SLOWED, LOADED = 50, 20
PAIR = Effort(rounds=60, seconds=0.6, baselines=("rival",), processes=3, thorough=False)
CLAIMS = ("faster", "slower", "no difference", "noisy")


class HarnessBench:
    """Costs, A/A controls, known slow-downs and what is left behind."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        started, load = time.monotonic(), os.getloadavg()
        peers = _peers.named(request.kernelbench, kernelguard=False)
        with closing(Server()) as server:
            costs = _costs(server)
            say("bench", "; ".join(f"{name} {s:.3f} s" for name, s in costs.items()))
            compared = [_compared(server, peer, say) for peer in peers]
            memory = _memory(server)
            say("bench", f"{memory['grown_mib']:.1f} MiB more after {EVALUATIONS} evaluations")
            same = _claims(server, _slowed.kernel(0), request.count, say)
            slower = _slowed.kernel(_slowed.EXTRA_ROWS)
            slowed = _claims(server, slower, min(SLOWED, request.count), say)
            with _busy_machine():
                loaded = _claims(server, _slowed.kernel(0), min(LOADED, request.count), say)
        return {
            "schema": SCHEMA, "device": cpu.detect().name, "versions": versions(),
            "kind": "measured", "load": {"start": load, "end": os.getloadavg()},
            "seconds_per_verdict": costs, "compared": compared, "memory": memory,
            "claims": {"itself": same, "3 % less work": slowed, "itself, all cores busy": loaded},
            "seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        costs = tables.table(f"One verdict, measured on {document['device']}", "what", "median")
        for name, seconds in document["seconds_per_verdict"].items():
            costs.add_row(name, f"{seconds:.3f} s")
        claims = tables.table(
            "Claims about a kernel and a rival", "rival", "pairs", *CLAIMS, "median below 1"
        )
        for name, found in document["claims"].items():
            counts = (str(found["claims"].get(claim, 0)) for claim in CLAIMS)
            below = str(sum(median < 1 for median in found["medians"]))
            claims.add_row(name, str(found["pairs"]), *counts, below)
        memory = document["memory"]
        text = (f"after {memory['evaluations']} evaluations: {memory['grown_mib']:.1f} MiB more in"
                f" the judge; left behind: {memory['left']}")  # fmt: skip
        return Group(costs, *map(_view, document["compared"]), claims, tables.plain(text))


def _costs(server: Server) -> dict[str, float]:
    """Median seconds of one verdict on a kernel that was built before."""
    with Judge(PROBLEM, server, 1) as judge:
        return {
            "all stages, strict, no timing": _median(judge, KERNEL, STRICT, REPEATS),
            "a wrong kernel": _median(judge, WRONG, STRICT, REPEATS),
            "with timing in three processes": _median(judge, KERNEL, TIMED, TIMED_REPEATS),
        }


def _median(judge: Judge, kernel: Kernel, effort: Effort, repeats: int) -> float:
    return median([_seconds(judge, kernel, effort) for _ in range(repeats + 1)][1:])


def _seconds(judge: Judge, kernel: Kernel, effort: Effort) -> float:
    start = time.perf_counter()
    verdict = judge.evaluate(kernel, effort, "cpu")
    taken = time.perf_counter() - start
    _expect(verdict, right=kernel is KERNEL)
    return taken


def _compared(server: Server, peer: _peers.Peer, say: Say) -> dict[str, Any]:
    """Verdicts on one right kernel, ours and a peer's in turn; the first round builds it."""
    rounds: list[dict[str, float]] = []
    with closing(peer), Judge(PROBLEM, server, 1) as judge:
        for _ in range(PEER_REPEATS + 1):
            ours = (_seconds(judge, KERNEL, STRICT), _seconds(judge, KERNEL, TIMED))
            both = zip((*OURS, *THEIRS), (*ours, *_their_seconds(peer)), strict=True)
            rounds.append(dict(both))
            say("bench", "; ".join(f"{name} {s:.3f} s" for name, s in rounds[-1].items()))
    minute = {name: 60 / median(found[name] for found in rounds[1:]) for name in rounds[0]}
    ratios = {a: {b: minute[a] / minute[b] for b in THEIRS} for a in OURS}
    return {"version": peer.version, "repeats": PEER_REPEATS, "verdicts_per_minute": minute,
            "ratios": ratios}  # fmt: skip


def _their_seconds(peer: _peers.Peer) -> tuple[float, float]:
    """From the start of a process to its end, and of that what their evaluation took."""
    candidate = submission(KERNEL, PROBLEM)
    start = time.perf_counter()
    found = peer.ask(PROBLEM.source, candidate, _peers.LONG_S)[_peers.EVALUATION]
    taken = time.perf_counter() - start
    if found.outcome != _peers.Outcome.ACCEPTED:
        raise MachineError(f"KernelBench does not accept a right softmax: {found.text}")
    return taken, found.seconds


def _view(compared: Mapping[str, Any]) -> RenderableType:
    made = tables.table(
        f"The same kernel, here and by KernelBench {compared['version']}", "what",
        "verdicts per minute", *(f"times {name}" for name in THEIRS),
    )  # fmt: skip
    for name, rate in compared["verdicts_per_minute"].items():
        ratios = compared["ratios"].get(name, {})
        made.add_row(name, f"{rate:.1f}", *(f"{ratio:.2f}" for ratio in ratios.values()))
    return made


def _memory(server: Server) -> dict[str, Any]:
    """What hundreds of evaluations leave in the judge and around it."""
    with Judge(PROBLEM, server, 1) as judge:
        for kernel in (KERNEL, WRONG):
            judge.evaluate(kernel, NO_TIMING, "cpu")
        time.sleep(1.0)
        before, held = _resident_bytes(), _held(server)
        for number in range(EVALUATIONS):
            judge.evaluate(WRONG if number % 3 == 0 else KERNEL, NO_TIMING, "cpu")
        grown = _resident_bytes() - before
        time.sleep(1.0)
        left = {name: count - held[name] for name, count in _held(server).items()}
    return {"evaluations": EVALUATIONS, "grown_mib": grown / (1 << 20), "left": left}


def _claims(server: Server, own: Kernel, count: int, say: Say) -> dict[str, Any]:
    """What is said about so many pairs of ``own`` and the kernel without extra work."""
    found: Counter[str] = Counter()
    medians = []
    for number in range(1, count + 1):
        with Judge(_slowed.PROBLEM, server, 1) as judge:
            judge.rivals["rival"] = _slowed.kernel(0)
            verdict = judge.evaluate(own, PAIR, "cpu")
        _expect(verdict, right=True)
        timing: Timing = getattr(verdict.evaluation, "timing")  # noqa: B009
        found[timing.claim(timing.worst)] += 1
        medians.append(timing.worst.median)
        if number % 10 == 0:
            say("bench", f"{number} of {count} pairs: {dict(found)}")
    return {"pairs": count, "claims": dict(found), "medians": medians}


@contextmanager
def _busy_machine() -> Iterator[None]:
    """Within this, every core has other work."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _expect(verdict: Verdict, right: bool) -> None:
    if verdict.passed != right:
        raise MachineError(f"the judge is wrong about a kernel: {verdict.evaluation}")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _held(server: Server) -> dict[str, int]:
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")), "processes": len(children),
        "folders": len(os.listdir(server.folder)),
    }  # fmt: skip


BENCH = HarnessBench()
