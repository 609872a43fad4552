"""The search without an LLM on single operations, against the best of eager and torch.compile."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from kernelite.agent.bench import Request, Say
from kernelite.agent.search import Budget, SiteSearch
from kernelite.errors import UsageError
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Passed, Ratio
from kernelite.kernels.kernel import Kernel
from kernelite.problems import suites
from kernelite.problems.problem import Problem
from kernelite.results import records
from kernelite.results.log import EventLog

MOST_EVALUATIONS = 400
#: The issue's own bar: an operation that loses more than this to the best baseline is a loss.
FLOOR = 0.97
WARM = Effort(rounds=200, seconds=3.0)
COLD = Effort(rounds=200, seconds=4.0, cold=True)
EFFORTS = {"warm": WARM, "cold": COLD}


def chosen(request: Request) -> list[Problem]:
    """The problems of the suite that were asked for.

    Raises:
        UsageError: an operation or a size that there is not.
    """
    problems = suites.suite("operations")
    pairs = [problem.name.partition("@")[::2] for problem in problems]
    for what, asked, known in (
        ("operation", request.operations, list(dict.fromkeys(o for o, _ in pairs))),
        ("size", request.sizes, list(dict.fromkeys(s for _, s in pairs))),
    ):
        if missing := [name for name in asked if name not in known]:
            raise UsageError(f"no {what} {missing[0]!r}; there are: {', '.join(known)}")
    return [
        problem
        for problem, (operation, size) in zip(problems, pairs, strict=True)
        if operation in (request.operations or (operation,)) and size in (request.sizes or (size,))
    ]


def measure(
    problems: Sequence[Problem], request: Request, device: str, servers: tuple[Server, Server],
    say: Say,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row per problem: who won, and by how much in each regime."""
    for problem in problems:
        with Judge(problem, servers[0], torch.get_num_threads(), servers[1]) as judge:
            row = _row(judge, request, device, say)
        said = [f"{r} {_text(ratio)}" for r, ratio in row["ratios"].items()]
        say("bench", f"{problem.name}  {'; '.join(said)}  {row['won_by']}")
        yield row


def summaries(rows: Sequence[Mapping[str, Any]], regimes: Sequence[str]) -> dict[str, Any]:
    """Geometric mean, minimum and losses of each regime, over what was measured."""
    found = {}
    for regime in regimes:
        known = {r["problem"]: r["ratios"][regime]["median"] for r in rows if r["ratios"][regime]}
        worst = min(known, key=lambda name: known[name], default=None)
        found[regime] = {
            "measured": len(known),
            "unknown": [r["problem"] for r in rows if not r["ratios"][regime]],
            "geometric_mean": float(np.exp(fmean(map(np.log, known.values())))) if known else None,
            "minimum": worst and {"problem": worst, "median": known[worst]},
            "losses": {name: ratio for name, ratio in known.items() if ratio < FLOOR},
        }
    return found


def _row(judge: Judge, request: Request, device: str, say: Say) -> dict[str, Any]:
    problem, started = judge.problem, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, EventLog(Path(folder)) as log:
        search = SiteSearch(
            problem.name, problem, judge, log, say, device, "all", request.seed, {}, {}
        )
        winner = search.run(Budget(time.monotonic() + request.seconds, MOST_EVALUATIONS))
        made = _candidates(log)
        reasons = [e.body.reason for e in log.events("no_winner")
                   if isinstance(e.body, records.NoWinner)]  # fmt: skip
    operation, _, size = problem.name.partition("@")
    row: dict[str, Any] = {
        "problem": problem.name, "operation": operation, "size": size,
        "candidates": len(made), "won_by": "library kept", "label": None, "ratios": {},
        "note": reasons[0] if reasons else None,
    }  # fmt: skip
    kernel = None
    if winner is not None:
        candidate = made[winner.candidate]
        kernel = Kernel(candidate.backend, candidate.source)
        row |= {"won_by": candidate.proposer, "label": candidate.label}
    for regime in request.regimes:
        row["ratios"][regime] = _ratio(judge, kernel, EFFORTS[regime], device)
    return row | {"seconds": time.monotonic() - started}


def _candidates(log: EventLog) -> dict[str, records.Candidate]:
    found = (event.body for event in log.events("candidate"))
    return {c.id: c for c in found if isinstance(c, records.Candidate)}


def _ratio(
    judge: Judge, kernel: Kernel | None, effort: Effort, device: str
) -> dict[str, Any] | None:
    """Against the best baseline, measured anew; None if it cannot be told.

    Where no kernel won, what is kept is eager: 1 if eager is the best baseline, and what it
    loses to torch.compile otherwise.
    """
    if kernel is not None:
        found = judge.evaluate(kernel, effort, device).evaluation
        return _as_row(found, lambda ratios: min(ratios, key=lambda ratio: ratio.median))
    eager = Kernel("pytorch", judge.problem.source)
    against = Effort(effort.rounds, effort.seconds, effort.cold, ("compile",))
    found = judge.evaluate(eager, against, device).evaluation
    row = _as_row(found, lambda ratios: ratios[0])
    if row is None or row["median"] >= 1:
        return {"baseline": "eager", "median": 1.0, "lower": 1.0, "upper": 1.0}
    return row


def _as_row(
    found: Passed | Failed, choose: Callable[[Sequence[Ratio]], Ratio]
) -> dict[str, Any] | None:
    if isinstance(found, Failed) or found.timing is None:
        return None
    return asdict(choose(found.timing.ratios))


def _text(ratio: Mapping[str, Any] | None) -> str:
    if ratio is None:
        return "unknown"
    return f"{ratio['median']:.2f}x [{ratio['lower']:.2f}, {ratio['upper']:.2f}]"
