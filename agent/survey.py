"""The stages before the search: where does the time go, and what could be won.

Runs the user's model in this process; runs no kernel.  What it finds is
written to the log, and a resumed run reads it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kernelite.agent.rank import Bottleneck, Ranking, rank
from kernelite.kernels.devices import Roofline
from kernelite.kernels.devices.calibrate import gemm_us
from kernelite.problems import capture
from kernelite.problems.capture import Host, Site
from kernelite.problems.cost import graph_cost
from kernelite.problems.operators import is_gemm
from kernelite.problems.problem import Problem
from kernelite.problems.profile import node_times, profile
from kernelite.problems.target import Target
from kernelite.results import records

Say = Callable[[str, str], None]

WORTH_A_SECOND_LIBRARY = 0.02  # share of the model's time from which a product is measured twice
MOST_OVERHEAD = 1.1  # of a model's time over its operators'; more was another program's doing
REPEATS = 7


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known before the search.

    Attributes:
        problems: By the name of their site.
        ranking: Sites by expected gain.
    """

    problems: dict[str, Problem]
    ranking: records.Ranked


def profiled(target: Target) -> records.Profiled:
    """The module profile, measured."""
    found = profile(target.model, target.args, target.kwargs, REPEATS)
    rows = tuple(
        records.ProfileRow(
            path=m.path or target.name, kind=m.label, calls=m.calls, self_us=m.self_us,
            share=m.share, flops=m.flops, bytes=m.bytes,
        )
        for m in found.modules
    )  # fmt: skip
    return records.Profiled(latency_us=found.wall_us, rows=rows)


def captured(site: Site) -> records.Captured:
    """A site's problem file as an event."""
    notes = {None: "without the model's weights its contents are drawn from no range of theirs",
             False: "its file does not give the model's own outputs"}  # fmt: skip
    return records.Captured(
        site=site.name, problem=site.problem.id, file=f"{site.problem.name}.py",
        source=site.problem.source, reproduced=site.reproduced, note=notes.get(site.reproduced),
    )  # fmt: skip


def ranked(
    target: Target, hosts: Sequence[Host], sites: Sequence[Site], wall_us: float, roofline: Roofline
) -> records.Ranked:
    """The sites by expected whole-model gain."""
    times = [
        node_times(host.graph, capture.flat_arguments(target.model, host), REPEATS)
        for host in hosts
    ]
    whole = sum(sum(t.values()) * h.calls for t, h in zip(times, hosts, strict=True))
    scale = 1.0 / max(whole, min(wall_us, MOST_OVERHEAD * whole))
    found = [_bottleneck(site, hosts, times, scale, roofline) for site in sites]
    return _as_event(rank(found, roofline))


def _bottleneck(
    site: Site,
    hosts: Sequence[Host],
    times: Sequence[dict[str, float]],
    scale: float,
    roofline: Roofline,
) -> Bottleneck:
    total = sum(
        times[index].get(node.name, 0.0) * hosts[index].calls
        for index, region in site.places
        for node in region.nodes
    )
    region = site.places[0][1]
    cost = graph_cost(region.nodes)
    library = site.kind in ("gemm", "convolution")
    share, measured_us = total * scale, total / site.calls
    best = None
    if site.kind == "gemm" and share >= WORTH_A_SECOND_LIBRARY:
        best = _best_library_us(site, measured_us)
    return Bottleneck(
        site=site.name, problem=site.problem.id, path=region.path, label=site.label,
        calls=site.calls, measured_us=measured_us, share=share, flops=cost.flops,
        bytes=cost.bytes_fused, kind="library" if library else "fusible", library_us=best,
    )  # fmt: skip


def _best_library_us(site: Site, measured_us: float) -> float | None:
    """The fastest library at this shape; never slower than what the model showed."""
    node = next(n for n in site.places[0][1].nodes if is_gemm(n))
    left, right = [n.meta["val"] for n in node.all_input_nodes if n.meta["val"].dim() >= 2][:2]
    out = node.meta["val"]
    if right.dim() != 2:
        return None
    depth = int(left.shape[-1])
    return min(measured_us, gemm_us(out.numel() // int(out.shape[-1]), int(out.shape[-1]), depth))


def _as_event(ranking: Ranking) -> records.Ranked:
    def row(s: Any) -> records.RankedSite:
        return records.RankedSite(
            site=s.site, problem=s.problem, path=s.path, label=s.label, calls=s.calls,
            share=s.share, measured_us=s.measured_us, roofline_us=s.roofline_us, limit=s.limit,
            flops=s.flops, bytes=s.bytes, attainable=s.attainable, gain=s.gain, verdict=s.verdict,
        )  # fmt: skip

    return records.Ranked(tuple(map(row, ranking.sites)), ranking.model_attainable)
