"""How good are our Triton templates on this GPU, against everybody whom one could use instead?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import (
    Request,
    Say,
    _gpu_race,
    _gpu_rivals,
    _gpu_selection,
    chosen_families,
)
from kernelite.agent.documents import versions
from kernelite.errors import MachineError
from kernelite.harness import processors, trial
from kernelite.harness.placement import Placement
from kernelite.harness.remote import COMPILER, Server
from kernelite.kernels.backends import backend
from kernelite.kernels.devices import cpu, gpu_ceilings
from kernelite.results import wording
from kernelite.results.records import Ratio

SCHEMA = "kernelite.bench-gpu/1"
DEVICE, TEMPLATES = "cuda", "triton"
BUDGET_S = 510.0  # of the nine minutes; the rest is for what ends a measurement
NUMBERS = ("kernel", "copy", "product", "best rival", "ratio", "graph")


class GpuBench:
    """Interleaved measurements; families in order of importance, until the time is over."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        started = time.monotonic()
        problems = _gpu_selection.problems(chosen_families(request))
        places = _gpu_rivals.folders(request.rivals)
        device = _device()
        measured = gpu_ceilings.measure(device)
        say("bench", f"{measured.device}: copies {measured.copy.value / 1e9:.0f} GB/s")
        server, compiler = Server(), Server(COMPILER)
        budget, rows = _gpu_selection.Budget(started + BUDGET_S), list[dict[str, Any]]()
        try:
            placement = trial.placement(server, device)
            track = _gpu_race.Track(
                server, compiler, placement, measured, places, request.seed, TEMPLATES
            )
            for problem in budget.within(problems):
                rows.append(row := _gpu_race.row(problem, track))
                say("bench", f"{problem.name}  {said(row)}")
        finally:
            server.close()
            compiler.close()
        return {
            "schema": SCHEMA, "kind": "measured", "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": _machine(placement), "versions": versions(),
            "ceilings": measured.as_json(), "rows": rows, "not_measured": budget.left_out,
            "not_here": _gpu_rivals.missing(places), "seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        title = f"Triton templates on {document['machine']['gpu']}, measured {document['date']}"
        made = tables.table(title, "problem", *NUMBERS, "what", numbers=NUMBERS[:3])
        for row in document["rows"]:
            made.add_row(row["problem"], *map(tables.plain, _cells(row)))
        copy = document["ceilings"]["copy"]["value"]
        parts: list[RenderableType] = [made, tables.plain(
            f"copy and product: shares of {copy / 1e9:.0f} GB/s copied and of the products of each"
            " type, both measured in this run"
        )]  # fmt: skip
        lost = losses(document["rows"])
        parts.append(tables.plain(f"losses: {'; '.join(lost) or 'none'}", "red" if lost else ""))
        for name, why in document["not_here"].items():
            parts.append(tables.plain(f"not here: {name}: {why}"))
        if left_out := document["not_measured"]:
            parts.append(tables.plain(f"not measured, no time left: {', '.join(left_out)}"))
        return Group(*parts)


def best(ratios: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ratio to the fastest rival; None if there is none."""
    found: dict[str, Any] | None = min(ratios.values(), key=lambda r: r["median"], default=None)
    return found


def losses(rows: list[dict[str, Any]]) -> list[str]:
    """Every rival that is surely faster than our kernel, problem by problem."""
    return [
        f"{row['problem']} {wording.factor(ratio['median'])} {ratio['baseline']}"
        for row in rows for ratio in row["ratios"].values() if ratio["claim"] == "slower"
    ]  # fmt: skip


def said(row: Mapping[str, Any]) -> str:
    """One line about a row: its ratio to the best rival, or why there is none."""
    ratio = best(row["ratios"])
    if ratio is None:
        return str(row["note"] or "no rival")
    shown = Ratio(ratio["median"], ratio["lower"], ratio["upper"])
    return f"{wording.ratio(shown)} {ratio['baseline']}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    ratio, graph = best(row["ratios"]), best(row["graph"])
    return [
        wording.time(row["kernel_us"]), wording.share(row["copy_share"]),
        wording.share(row["product_share"]), ratio["baseline"] if ratio else wording.UNKNOWN,
        said(row).rpartition(" ")[0] if ratio else "",
        wording.factor(graph["median"]) if graph else wording.UNKNOWN,
        row["label"] if ratio else str(row["note"]),
    ]  # fmt: skip


def _device() -> str:
    """The first GPU's full name.

    Raises:
        MachineError: there is none, or Triton is missing.
    """
    if lack := processors.missing(DEVICE):
        raise MachineError(f"bench gpu needs an NVIDIA GPU: {lack}")
    if without := backend(TEMPLATES).missing():
        raise MachineError(without)
    return processors.require(DEVICE)


def _machine(placement: Placement) -> dict[str, Any]:
    return {"gpu": placement.model, "pci": placement.pci, "cpu": cpu.detect().name,
            "cores": cpu.usable_cores(), "layers": list(placement.layers)}  # fmt: skip


BENCH = GpuBench()
