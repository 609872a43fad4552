"""What a GPU's time goes to, and what could be won there, from its published figures.

Where the GPU is not here, an operator takes what those figures allow (`devices.published`), in
eager mode and as a part of one fused kernel alike, so that a site promises only what fusing saves:
bytes of intermediate results, and launches.  Where it is here, eager's times are measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from kernelite.agent.rank import (
    COMPUTE_EFFICIENCY,
    LIBRARY_CAP,
    MEMORY_EFFICIENCY,
    NEGLIGIBLE_GAIN,
)
from kernelite.kernels.devices.published import Published
from kernelite.problems.capture import Host, Site
from kernelite.problems.cost import Cost, graph_cost
from kernelite.problems.operators import CONVOLUTIONS, is_gemm, name_of
from kernelite.results import records

ATTENTION = "scaled_dot_product_attention"


@dataclass(frozen=True, slots=True)
class Times:
    """Eager time of every operator.

    Attributes:
        us: Of one call, by host and by the node's name.
        whole_us: Of the model; what its hosts do not cover included, if it was measured.
        kind: ``modelled`` or ``measured``.
    """

    us: Sequence[Mapping[str, float]]
    whole_us: float
    kind: str

    def of(self, index: int, nodes: Iterable[fx.Node]) -> float:
        """Of these nodes of host ``index``, once each."""
        return sum(self.us[index].get(node.name, 0.0) for node in nodes)


def modelled(hosts: Sequence[Host], roofline: Published) -> Times:
    """Every operator at the GPU's published figures; views take no time."""
    us = [{n.name: _node_us(n, roofline) for n in host.graph.graph.nodes} for host in hosts]
    whole = sum(host.calls * sum(own.values()) for host, own in zip(hosts, us, strict=True))
    return Times(us, whole, "modelled")


def profiled(name: str, hosts: Sequence[Host], times: Times) -> records.Profiled:
    """Eager time by module; what belongs to no module is the model's, which is called ``name``."""
    us, flops = defaultdict[str, float](float), defaultdict[str, int](int)
    moved, kinds = defaultdict[str, int](int), dict[str, str]()
    for index, host in enumerate(hosts):
        for node in host.graph.graph.nodes:
            cost = graph_cost([node])
            path, kind = _module(host, node)
            kinds.setdefault(path, kind)
            us[path] += host.calls * times.of(index, [node])
            flops[path] += host.calls * cost.flops
            moved[path] += host.calls * cost.bytes_unfused
    rows = tuple(
        records.ProfileRow(
            path=path or name, kind=kinds[path], self_us=us[path], share=us[path] / times.whole_us,
            flops=flops[path], bytes=moved[path],
        )
        for path in sorted(us, key=lambda path: -us[path])
        if us[path]
    )  # fmt: skip
    return records.Profiled(latency_us=times.whole_us, rows=rows, kind=times.kind)


def ranked(
    hosts: Sequence[Host], sites: Sequence[Site], times: Times, roofline: Published
) -> records.Ranked:
    """The sites by the part of the whole model's time that a fused kernel would save."""
    found = [_ranked(site, hosts, times, roofline) for site in sites]
    found.sort(key=lambda site: (-(site.gain or 0), -(site.share or 0), site.site))
    saved = min(sum(site.gain or 0 for site in found), 0.99)
    return records.Ranked(tuple(found), 1 / (1 - saved), kind=times.kind)


def _ranked(
    site: Site, hosts: Sequence[Host], times: Times, roofline: Published
) -> records.RankedSite:
    index, region = site.places[0]
    cost = graph_cost(region.nodes)
    product = next((kind for node in region.nodes if (kind := _product_of(node))), "")
    limit = roofline.time_us(cost.flops, cost.bytes_fused, product)
    eager_us = times.of(index, region.nodes)
    attainable = max(1.0, eager_us / _reachable_us(cost, times.kind, roofline, product))
    if times.kind == "measured" and site.kind in ("gemm", "convolution"):
        attainable = min(attainable, LIBRARY_CAP)
    spent = sum(hosts[i].calls * times.of(i, place.nodes) for i, place in site.places)
    share = spent / times.whole_us
    gain = share * (1 - 1 / attainable)
    measured = times.kind == "measured"
    return records.RankedSite(
        site=site.name, problem=site.problem.id, path=region.path, label=site.label,
        calls=site.calls, share=share, measured_us=eager_us if measured else None,
        modelled_us=None if measured else eager_us, roofline_us=limit.us, limit=limit.limit,
        flops=cost.flops, bytes=cost.bytes_fused, attainable=attainable, gain=gain,
        verdict=_verdict(attainable, gain, share, limit.limit),
    )  # fmt: skip


def _reachable_us(cost: Cost, kind: str, roofline: Published, product: str) -> float:
    """What one fused kernel would take; beside measured times with what such kernels reach."""
    efficiency = COMPUTE_EFFICIENCY if kind == "measured" else 1.0
    return roofline.time_us(
        cost.flops / efficiency, cost.bytes_fused / MEMORY_EFFICIENCY, product
    ).us  # fmt: skip


def _verdict(attainable: float, gain: float, share: float, limit: str) -> str:
    if attainable == 1:
        return f"nothing to win by fusing: its {limit} limit is that of one kernel"
    if gain < NEGLIGIBLE_GAIN:
        return f"too small to matter: {share:.2%} of the model's time"
    return f"{attainable:.1f}x attainable by one fused kernel, {limit} bound"


def _node_us(node: fx.Node, roofline: Published) -> float:
    """One operator by itself; views and what does nothing take no time."""
    cost = graph_cost([node])
    if not cost.bytes_unfused and not cost.flops:
        return 0.0
    return roofline.time_us(cost.flops, cost.bytes_unfused, _product_of(node)).us


def _product_of(node: fx.Node) -> str:
    """The type that a product multiplies; empty for any other operator."""
    if not (is_gemm(node) or name_of(node) in CONVOLUTIONS or name_of(node) == ATTENTION):
        return ""
    return str(node.all_input_nodes[0].meta["val"].dtype).removeprefix("torch.")


def _module(host: Host, node: fx.Node) -> tuple[str, str]:
    """Path and class of the innermost module that the node belongs to."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    inner, kind = (str(part) for part in stack[-1]) if stack else ("", "")
    return f"{host.paths[0]}.{inner}".strip("."), kind.rpartition(".")[2]
