"""How good is Kernelite on this CPU: operations, whole models, and the judge's own cost."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import Request, Say, _judge, _models, _operations
from kernelite.agent.documents import versions
from kernelite.errors import MachineError
from kernelite.harness.remote import COMPILER, Server
from kernelite.kernels.backends import backend
from kernelite.kernels.devices import cpu
from kernelite.results import wording
from kernelite.results.records import Ratio

SCHEMA = "kernelite.bench-cpu/1"


class CpuBench:
    """Interleaved measurements against the best of eager and torch.compile."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        problems = _operations.chosen(request)
        if request.models:
            _models.check()
        if (missing := backend("cpp").missing()) is not None:
            raise MachineError(missing)
        device, load, started = cpu.detect().name, os.getloadavg(), time.monotonic()
        with closing(Server()) as server:
            judged = _judge.measure(server, device)
        say("bench", f"judge: {judged['evaluations_per_second']:.0f} evaluations per second")
        server, compiler = Server(), Server(COMPILER)
        try:
            found = _operations.measure(problems, request, device, (server, compiler), say)
            rows = list(found)
        finally:
            server.close()
            compiler.close()
        models = _models.measure(request.seed, say) if request.models else []
        return {
            "schema": SCHEMA, "device": device, "versions": versions(),
            "load": {"start": load, "end": os.getloadavg()}, "kind": "measured",
            "summary": _operations.summaries(rows, request.regimes), "operations": rows,
            "models": models, "judge": judged, "seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        parts: list[RenderableType] = [_operations_table(document)]
        for regime, found in document["summary"].items():
            parts.append(tables.plain(_summary(regime, found)))
        parts += [_models_table(document)] if document["models"] else []
        judged, load = document["judge"], document["load"]
        rate = judged["evaluations_per_second"]
        parts.append(tables.plain(
            f"judge: {rate:.0f} evaluations per second of {judged['problem']}, without timing"
        ))  # fmt: skip
        parts.append(
            tables.plain(f"load {load['start'][0]:.2f} before, {load['end'][0]:.2f} after")
        )
        return Group(*parts)


def _operations_table(document: Mapping[str, Any]) -> RenderableType:
    regimes = list(document["summary"])
    made = tables.table(f"Best of eager and torch.compile over Kernelite, measured on"
                        f" {document['device']}", "problem", *regimes, "by", "what")  # fmt: skip
    for row in document["operations"]:
        ratios = [_ratio(row["ratios"][regime]) for regime in regimes]
        made.add_row(row["problem"], *ratios, row["won_by"], tables.plain(row["label"] or ""))
    return made


def _models_table(document: Mapping[str, Any]) -> RenderableType:
    made = tables.table("Whole models, measured", "target", "vs eager", "vs torch.compile",
                        "promised", "kept", "verified")  # fmt: skip
    for row in document["models"]:
        if (model := row["model"]) is None:
            made.add_row(row["target"], tables.plain(row["note"]))
            continue
        ratios = [wording.ratio(Ratio(**model["speedup"][name])) for name in model["speedup"]]
        made.add_row(row["target"], *ratios, wording.factor(model["attainable"]),
                     wording.share(row["promise_kept"]), str(model["verified"]))  # fmt: skip
    return made


def _ratio(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return wording.UNKNOWN
    ratio = Ratio(found["median"], found["lower"], found["upper"])
    return f"{wording.ratio(ratio)} {found['baseline']}"


def _summary(regime: str, found: Mapping[str, Any]) -> str:
    worst = found["minimum"]
    least = f"minimum {wording.factor(worst['median'])} at {worst['problem']}" if worst else ""
    lost = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in found["losses"].items()) or "none"
    unknown = f"; unknown: {', '.join(found['unknown'])}" if found["unknown"] else ""
    mean = wording.factor(found["geometric_mean"])
    return (f"{regime}: geometric mean {mean} over {found['measured']}; {least};"
            f" losses: {lost}{unknown}")  # fmt: skip


BENCH = CpuBench()
