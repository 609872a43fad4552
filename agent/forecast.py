"""The stages before the search for a GPU that is not there: everything is modelled.

An operator takes what the GPU's published figures allow (`kernels.devices.published`), in eager
mode and as a part of one fused kernel alike, so that what a site promises is only what fusing
saves: bytes of intermediate results, and launches.  Nothing runs, and weights need not be there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from torch import fx

from kernelite.agent.rank import MEMORY_EFFICIENCY, NEGLIGIBLE_GAIN
from kernelite.kernels.devices.published import Published
from kernelite.problems.capture import Host, Site
from kernelite.problems.cost import Cost, graph_cost
from kernelite.problems.operators import CONVOLUTIONS, is_gemm, name_of
from kernelite.results import records

ATTENTION = "scaled_dot_product_attention"


def profiled(name: str, hosts: Sequence[Host], roofline: Published) -> records.Profiled:
    """Eager time by module, modelled.

    Args:
        name: What the model itself is called.
        hosts: The graphs that it consists of.
        roofline: Of the GPU.
    """
    us, counts = defaultdict[str, float](float), defaultdict[str, int](int)
    moved = defaultdict[str, int](int)
    kinds: dict[str, str] = {}
    for host in hosts:
        for node in host.graph.graph.nodes:
            cost = graph_cost([node])
            path, kind = _module(host, node)
            kinds.setdefault(path, kind)
            us[path] += host.calls * _node_us(node, cost, roofline)
            counts[path] += host.calls * cost.flops
            moved[path] += host.calls * cost.bytes_unfused
    whole = sum(us.values())
    rows = tuple(
        records.ProfileRow(
            path=path or name, kind=kinds[path], self_us=us[path], share=us[path] / whole,
            flops=counts[path], bytes=moved[path],
        )
        for path in sorted(us, key=lambda path: -us[path])
        if us[path]
    )  # fmt: skip
    return records.Profiled(latency_us=whole, rows=rows, kind="modelled")


def ranked(hosts: Sequence[Host], sites: Sequence[Site], roofline: Published) -> records.Ranked:
    """The sites by the part of the whole model's modelled time that fusing them saves."""
    whole = sum(host.calls * _eager_us(host.graph.graph.nodes, roofline) for host in hosts)
    found = [_ranked(site, hosts, whole, roofline) for site in sites]
    found.sort(key=lambda site: (-(site.gain or 0), -(site.share or 0), site.site))
    saved = min(sum(site.gain or 0 for site in found), 0.99)
    return records.Ranked(tuple(found), 1 / (1 - saved), kind="modelled")


def _ranked(
    site: Site, hosts: Sequence[Host], whole: float, roofline: Published
) -> records.RankedSite:  # fmt: skip
    region = site.places[0][1]
    cost = graph_cost(region.nodes)
    product = next((_product_of(node) for node in region.nodes if _product_of(node)), "")
    limit = roofline.time_us(cost.flops, cost.bytes_fused, product)
    reachable = roofline.time_us(cost.flops, cost.bytes_fused / MEMORY_EFFICIENCY, product)
    eager_us = _eager_us(region.nodes, roofline)
    attainable = max(1.0, eager_us / reachable.us)
    share = sum(
        hosts[index].calls * _eager_us(place.nodes, roofline) for index, place in site.places
    ) / whole  # fmt: skip
    gain = share * (1 - 1 / attainable)
    return records.RankedSite(
        site=site.name, problem=site.problem.id, path=region.path, label=site.label,
        calls=site.calls, share=share, modelled_us=eager_us, roofline_us=limit.us,
        limit=limit.limit, flops=cost.flops, bytes=cost.bytes_fused, attainable=attainable,
        gain=gain, verdict=_verdict(attainable, gain, share, limit.limit),
    )  # fmt: skip


def _verdict(attainable: float, gain: float, share: float, limit: str) -> str:
    if attainable == 1:
        return f"nothing to win by fusing: its {limit} limit is that of one kernel"
    if gain < NEGLIGIBLE_GAIN:
        return f"too small to matter: {share:.2%} of the model's time"
    return f"{attainable:.1f}x attainable by one fused kernel, {limit} bound"


def _eager_us(nodes: Iterable[fx.Node], roofline: Published) -> float:
    return sum(_node_us(node, graph_cost([node]), roofline) for node in nodes)


def _node_us(node: fx.Node, cost: Cost, roofline: Published) -> float:
    """One operator by itself; views and what does nothing take no time."""
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
