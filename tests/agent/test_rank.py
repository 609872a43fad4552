from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from kernelite.agent.rank import LIBRARY_CAP, MEMORY_EFFICIENCY, Bottleneck, rank
from kernelite.kernels.devices import Bandwidth, Calibration, Ceiling, Device, Roofline
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import flat_graph
from kernelite.problems.profile import node_times

DEVICE = Device("test", "cpu", 2, 2, "avx2", {"L1": 1 << 15, "L2": 1 << 20, "L3": 1 << 25}, ("L3",))


def roofline() -> Roofline:
    """100 GB/s at every size, 1000 Gflop/s peak, 800 in a library product, 5 us a call."""
    rate = Bandwidth(1 << 20, Ceiling(100e9, "bytes/s", "test"))
    peak, gemm = Ceiling(1000e9, "flops/s", "test"), Ceiling(800e9, "flops/s", "test")
    overhead = Ceiling(5, "us", "test")
    return Roofline(Calibration(DEVICE, (rate,), (rate,), peak, gemm, overhead, {}, 0.0))


def norm(measured_us: float = 150.0, share: float = 0.2, site: str = "layers.0.norm") -> Bottleneck:
    """A region that moves 7 MB: 70 us at the copy ceiling."""
    return Bottleneck(
        site=site, problem="p", path=site, label="rms_norm", calls=1, measured_us=measured_us,
        share=share, flops=1_000_000, bytes=7_000_000, kind="fusible",
    )  # fmt: skip


def gemm(measured_us: float, library_us: float | None = None) -> Bottleneck:
    """A product of 800 million operations: 1000 us at the best library rate."""
    return Bottleneck(
        site="up", problem="p", path="up", label="linear", calls=1, measured_us=measured_us,
        share=0.5, flops=800_000_000, bytes=1_000_000, kind="library", library_us=library_us,
    )  # fmt: skip


def test_attainable_is_measured_over_roofline_at_the_efficiency_that_fused_kernels_reach() -> None:
    site = rank([norm()], roofline()).sites[0]
    assert site.attainable == pytest.approx(150 / (70 / MEMORY_EFFICIENCY + 5))


def test_gain_is_share_times_what_the_speed_up_saves() -> None:
    site = rank([norm()], roofline()).sites[0]
    assert site.gain == pytest.approx(0.2 * (1 - 1 / site.attainable))


def test_the_model_gains_what_its_sites_save_together() -> None:
    ranking = rank([norm(), norm(site="b")], roofline())
    saved = sum(site.gain for site in ranking.sites)
    assert ranking.model_attainable == pytest.approx(1 / (1 - saved))


def test_a_larger_share_can_rank_below_a_larger_gain() -> None:
    ranking = rank([gemm(1050), norm(share=0.1)], roofline())
    assert [site.site for site in ranking.sites] == ["layers.0.norm", "up"]


def test_a_product_at_the_library_s_speed_has_nothing_to_win() -> None:
    ranking = rank([gemm(1100)], roofline())
    verdict = "nothing to win: library GEMM at 91% of the best measured library rate"
    assert (ranking.sites[0].verdict, ranking.model_attainable) == (verdict, 1.0)


def test_a_slow_product_may_gain_up_to_the_cap() -> None:
    slightly, badly = rank([gemm(1180), gemm(5000)], roofline()).sites[::-1]
    assert slightly.attainable == pytest.approx(0.95 * 1180 / 1000)
    assert badly.attainable == LIBRARY_CAP


def test_a_product_that_no_library_does_faster_at_its_shape_has_nothing_to_win() -> None:
    assert rank([gemm(5000, library_us=4900)], roofline()).sites[0].attainable == 1.0


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads wait for each other where other programs run; one does not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_real_product_at_the_rate_of_the_best_library_has_nothing_to_win() -> None:
    layer, x = nn.Linear(384, 384, bias=False), torch.randn(384, 384)
    graph = flat_graph(layer, (x,))
    cost = graph_cost(graph.graph.nodes)
    runs = [node_times(graph, [x, layer.weight], repeats=1) for _ in range(50)]
    measured_us = min(run["linear"] for run in runs)
    best = Ceiling(cost.flops / measured_us * 1e6, "flops/s", "the same call")
    site = replace(gemm(measured_us), flops=cost.flops, bytes=cost.bytes_fused)
    figures = replace(roofline().calibration, fma=best, gemm=best)
    assert rank([site], Roofline(figures)).model_attainable == 1.0


def test_a_thin_product_is_judged_by_the_bandwidth() -> None:
    thin = Bottleneck(
        site="v", problem="p", path="v", label="linear", calls=1, measured_us=1000.0, share=0.5,
        flops=45_000_000, bytes=90_000_000, kind="library",
    )  # fmt: skip
    verdict = "nothing to win: library GEMM at 90% of the bandwidth"
    assert rank([thin], roofline()).sites[0].verdict == verdict


def test_a_region_at_the_roofline_has_nothing_to_win() -> None:
    site = rank([norm(measured_us=75.0)], roofline()).sites[0]
    assert (site.attainable, site.gain) == (1.0, 0.0)
    assert site.verdict.startswith("nothing to win")


def test_no_call_is_promised_to_take_less_than_its_overhead() -> None:
    tiny = Bottleneck(
        site="t", problem="p", path="t", label="add", calls=9, measured_us=10.0, share=0.3,
        flops=1, bytes=8, kind="fusible",
    )  # fmt: skip
    assert rank([tiny], roofline()).sites[0].attainable == pytest.approx(2, rel=1e-3)


def test_a_region_of_no_weight_is_called_too_small() -> None:
    site = rank([norm(share=0.0005)], roofline()).sites[0]
    assert site.verdict.startswith("too small to matter")
