"""Every Triton template where there is no GPU: judged by emulation, compiled for six targets."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import Request, Say, chosen_families
from kernelite.agent.bench.xcompile import NO_TIMING, TARGETS
from kernelite.agent.documents import versions
from kernelite.harness import crosscompile
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed
from kernelite.kernels import templates
from kernelite.kernels.devices import cpu
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import check_version, find
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.suites import families

SCHEMA = "kernelite.bench-templates/1"
DTYPES = ("float32", "float16", "bfloat16")
UNMATCHED = "no template matches"


class TemplatesBench:
    """Each template's default parameters on each family's problems."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        check_version()
        chosen = chosen_families(request)
        started, load, rows = time.monotonic(), os.getloadavg(), []
        workers = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            found = [pool.submit(family, name) for name in chosen]
            for done in as_completed(found):
                rows += done.result()
                say("bench", _told(done.result()))
        rows.sort(key=lambda row: (chosen.index(row["family"]), row["problem"], row["template"]))
        return {
            "schema": SCHEMA, "device": cpu.detect().name, "versions": versions(),
            "kind": "emulated", "targets": TARGETS, "rows": rows, "summary": _summary(rows),
            "load": {"start": load, "end": os.getloadavg()}, "seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        made = tables.table("Triton templates without a GPU: emulated, and compiled",
                            "family", "template", "right", "compiled", "spills",
                            numbers=("right", "compiled", "spills"))  # fmt: skip
        for row in document["summary"]:
            made.add_row(row["family"], row["template"], f"{row['right']}/{row['judged']}",
                         f"{row['compiled']}/{row['asked']}", str(row["spilling"]))  # fmt: skip
        told = [
            tables.plain(f"{row['problem']}, {row['template']}: {row['failed']}", "red")
            for row in document["rows"]
            if row["failed"]
        ]
        return Group(made, *told)


def family(name: str) -> list[dict[str, Any]]:
    """What came of each small problem of a family, and of compiling a large one per dtype."""
    rows = []
    with closing(Server()) as server:
        for problem in families.family(name, "small"):
            rows += [{"family": name, **row} for row in _judged(problem, server)]
    large = families.family(name, "large")
    firsts = [next((p for p in large if p.workload.endswith(kind)), None) for kind in DTYPES]
    with closing(crosscompile.server()) as server:
        for problem in filter(None, firsts):
            rows += [{"family": name, **row} for row in _compiled(problem, server)]
    return rows


def _kernels(problem: Problem) -> Iterator[tuple[str, Kernel]]:
    """Name of each template that matches, with the kernel of its default parameters."""
    instance = instantiate(problem, 0)
    try:
        graph = flat_graph(instance.model, instance.inputs)
    except NotTraceable:
        return
    for name, plan in templates.plans(graph, "triton"):
        yield name, plan.render({key: values[0] for key, values in plan.space.items()})


def _judged(problem: Problem, server: Server) -> list[dict[str, Any]]:
    row, rows = partial(_row, problem, "emulated"), []
    with Judge(problem, server, 1) as judge:
        for name, kernel in _kernels(problem):
            begin = time.perf_counter()
            evaluation = judge.evaluate(kernel, NO_TIMING, "cpu").evaluation
            failed = ""
            if isinstance(evaluation, Failed):
                failed = f"{evaluation.stage}, {evaluation.reason}: {evaluation.log[:300]}"
            seconds = time.perf_counter() - begin
            rows.append(row(name, failed, seconds))
    return rows or [row("", UNMATCHED, 0.0)]


def _compiled(problem: Problem, server: Server) -> list[dict[str, Any]]:
    row, rows = partial(_row, problem, "compiled"), []
    for name, kernel in _kernels(problem):
        begin = time.perf_counter()
        report = crosscompile.crosscompile(server, kernel, problem, list(map(find, TARGETS)))
        targets = {one.target.arch: _target(one) for one in report.targets}
        failed = "; ".join(f"{arch}: {t['trouble']}" for arch, t in targets.items() if t["trouble"])
        seconds = time.perf_counter() - begin
        rows.append(row(name, failed, seconds, targets))
    return rows or [row("", UNMATCHED, 0.0)]


def _row(
    problem: Problem, what: str, template: str, failed: str, seconds: float,
    targets: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:  # fmt: skip
    return {"problem": problem.name, "what": what, "template": template, "failed": failed,
            "seconds": seconds, "targets": dict(targets)}  # fmt: skip


def _target(report: crosscompile.TargetReport) -> dict[str, Any]:
    """The most that any kernel of the candidate takes; None where a compiler does not tell."""
    ways = report.compiled.configurations
    troubles = [str(t) for t in (report.compiled.trouble, *(way.trouble for way in ways)) if t]
    occupancies = [report.occupancy(way) for way in ways]
    return {
        "kernels": len(ways), "trouble": "; ".join(dict.fromkeys(troubles)),
        "registers": _most([way.binary.registers for way in ways]),
        "spill_bytes": _most([way.binary.spill_store_bytes for way in ways]),
        "shared_bytes": _most([way.shared_bytes for way in ways]),
        "occupancy_modelled": min((o.fraction for o in occupancies if o), default=None),
    }  # fmt: skip


def _most(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if values and len(known) == len(values) else None


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per family and template: how many problems are right, how many targets compiled."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        count = counts.setdefault((row["family"], row["template"] or UNMATCHED), Counter())
        if row["what"] == "emulated":
            count.update(judged=1, right=not row["failed"])
        for target in row["targets"].values():
            whole = not target["trouble"] and target["kernels"] > 0
            spills = target["spill_bytes"] != 0  # unknown is no proof
            count.update(asked=1, compiled=whole, spilling=whole and spills)
    keys = ("judged", "right", "asked", "compiled", "spilling")
    return [
        {"family": name, "template": template, **{key: count[key] for key in keys}}
        for (name, template), count in counts.items()
    ]


def _told(rows: list[dict[str, Any]]) -> str:
    """One family in a line."""
    parts = [
        f"{row['template']}: {row['right']} of {row['judged']} right,"
        f" {row['compiled']} of {row['asked']} compiled, {row['spilling']} spill"
        for row in _summary(rows)
    ]
    return f"{rows[0]['family']}: {'; '.join(parts)}"


BENCH = TemplatesBench()
