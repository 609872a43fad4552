"""Which known cheats get past the harness, and which honest kernels do not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import Request, Say, _peers, _side_by_side
from kernelite.agent.bench._corpus import GROUPS, HONEST, Specimen, problems, specimens
from kernelite.agent.documents import versions
from kernelite.errors import UsageError
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.stages import stages
from kernelite.harness.verdict import Failed, Reason
from kernelite.kernels.devices import cpu
from kernelite.problems.problem import Problem

SCHEMA = "kernelite.bench-redteam/1"
PLAIN = Effort(rounds=0, baselines=())
TIMED = Effort(rounds=10, seconds=1.0, baselines=("eager",))
LATE = ("timing", "light")  # stages that only a timed judgement reaches
SHORT_S, LONG_S = 1.5, 60.0
TOLD_AFTER = 20  # files
HOME = str(Path.home())


class Judges:
    """Judges over one server, made when they are first needed: by problem, patience and seed."""

    def __init__(self, problems: Mapping[str, Problem]) -> None:
        self.problems, self.stack = problems, ExitStack()
        self.made: dict[tuple[str, float, int | None], Judge] = {}

    def __enter__(self) -> Judges:
        self.server = self.stack.enter_context(closing(Server()))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def of(self, specimen: Specimen) -> Judge:
        """One with little patience for what never ends."""
        patience_s = SHORT_S if specimen.reason == Reason.TIMEOUT else LONG_S
        key = (specimen.problem, patience_s, specimen.seed)
        if key not in self.made:
            judge = Judge(
                self.problems[specimen.problem], self.server, 1, timeout_s=patience_s,
                seed=specimen.seed,
            )  # fmt: skip
            self.made[key] = self.stack.enter_context(judge)
        return self.made[key]


class RedTeam:
    """Every cheat with all stages on, then with the one that caught it off."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        corpus, named = specimens(request.corpus), problems(request.corpus)
        if missing := {s.problem for s in corpus} - set(named):
            raise UsageError(f"no problem {min(missing)!r} in {request.corpus / 'problems'}")
        started = time.monotonic()
        with ExitStack() as stack:
            peers = _peers.named(request.kernelbench, request.kernelguard)
            for peer in peers:
                stack.callback(peer.close)
            judges = stack.enter_context(Judges(named))
            rows = [_row(judges, specimen, say) for specimen in corpus]
            for number, (row, specimen) in enumerate(zip(rows, corpus, strict=True), 1):
                row["peers"] = _side_by_side.ask(peers, specimen, named[specimen.problem])
                if peers and number % TOLD_AFTER == 0:
                    say("redteam", f"{number} of {len(rows)} put to other checkers")
        return {
            "schema": SCHEMA, "device": cpu.detect().name, "versions": versions(),
            "summary": summary(rows), "stages": by_stage(rows),
            "peers": _side_by_side.summary(rows) if peers else {}, "rows": rows,
            "peer_versions": {type(peer).__name__: peer.version for peer in peers},
            "seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        groups = tables.table(
            "Known cheats and honest kernels", "group", "files", "at the named stage",
            "elsewhere", "missed", "refused",
        )  # fmt: skip
        for group, found in document["summary"].items():
            groups.add_row(group, *(str(found[key]) for key in (
                "files", "caught", "elsewhere", "missed", "refused")))  # fmt: skip
        each = tables.table("What each stage is for", "stage", "catches", "only it does", "such as")
        for stage, found in document["stages"].items():
            examples = tables.plain(", ".join(found["alone"][:3]))
            each.add_row(stage, str(found["catches"]), str(len(found["alone"])), examples)
        wrong = [r for r in document["rows"] if r["outcome"] not in ("caught", "accepted")]
        lines = [tables.plain(f"{r['outcome']}: {r['name']}: {r['found']}", "red") for r in wrong]
        others = [_side_by_side.view(document["peers"])] if document["peers"] else []
        return Group(groups, each, *others, *lines)


def effort_for(specimen: Specimen) -> Effort:
    """What a file has to be judged with to reach the stage that it names."""
    effort = TIMED if specimen.stage in LATE else PLAIN
    return replace(effort, policy=specimen.policy, replay=specimen.stage == "replay")


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Outcomes by group."""
    found = {}
    for group in (*GROUPS, HONEST):
        outcomes = Counter(row["outcome"] for row in rows if row["group"] == group)
        found[group] = {"files": outcomes.total()} | {
            name: outcomes[name] for name in ("caught", "elsewhere", "missed", "refused")
        }
    return found


def by_stage(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How many each stage catches, and the cheats that pass if it is off."""
    caught = [row for row in rows if row["outcome"] in ("caught", "elsewhere")]
    return {
        name: {
            "catches": sum(row["at"] == name for row in caught),
            "alone": [row["name"] for row in caught if row["at"] == name and row["passes_without"]],
        }
        for name, _ in stages()
    }


def _row(judges: Judges, specimen: Specimen, say: Say) -> dict[str, Any]:
    judge, effort = judges.of(specimen), effort_for(specimen)
    found = judge.evaluate(specimen.kernel(), effort, "cpu").evaluation
    at, reason, log = "", "", ""
    if isinstance(found, Failed):
        at, reason, log = found.stage, found.reason.value, found.log.replace(HOME, "~")
    outcome = _outcome(specimen, at, reason)
    row: dict[str, Any] = {
        "name": specimen.name, "group": specimen.group, "named": specimen.stage,
        "outcome": outcome, "at": at, "reason": reason,
        "found": f"{at} {reason}: {log[:200]}" if at else "passed", "passes_without": False,
    }  # fmt: skip
    if at and specimen.group != HONEST:
        others = tuple(name for name, _ in stages() if name != at)
        second = judge.evaluate(specimen.kernel(), replace(effort, stages=others), "cpu")
        row["passes_without"] = second.passed
    if outcome not in ("caught", "accepted"):
        say("redteam", f"{outcome}: {row['name']}: {row['found']}")
    return row


def _outcome(specimen: Specimen, at: str, reason: str) -> str:
    if specimen.group == HONEST:
        return "refused" if at else "accepted"
    if not at:
        return "missed"
    return "caught" if (at, reason) == (specimen.stage, specimen.reason) else "elsewhere"


BENCH = RedTeam()
