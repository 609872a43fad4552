"""What is modelled of a GPU that is not there, and how measured times take its place."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from kernelite.agent import forecast
from kernelite.errors import UsageError
from kernelite.kernels.devices import gpu
from kernelite.kernels.devices.published import LAUNCH_US, Published
from kernelite.problems import capture
from kernelite.problems.capture import Host, Site
from kernelite.problems.target import Target
from kernelite.results.records import RankedSite

ROWS, COLUMNS = 4096, 1024
TENSOR_BYTES = ROWS * COLUMNS * 4
H200 = Published.of(gpu.find("h200"))


class Block(nn.Module):
    """A product, and three pointwise operators behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(COLUMNS, COLUMNS, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wide(x)
        return torch.sin(y * 2 + 1)


def target(device: str = "cpu") -> Target:
    with torch.device(device):
        inputs = torch.randn(ROWS, COLUMNS)
        return Target("block", "block", Block().eval().requires_grad_(False), (inputs,), {})


def surveyed(device: str = "cpu") -> tuple[Sequence[Host], Sequence[Site]]:
    one = target(device)
    hosts, _ = capture.hosts(one)
    return hosts, capture.sites(one.model, hosts)


def site(found: Sequence[RankedSite], label: str) -> RankedSite:
    return next(one for one in found if one.label.startswith(label))


def test_eager_moves_every_intermediate_and_launches_every_operator() -> None:
    hosts, sites = surveyed()
    times = forecast.modelled(hosts, H200)
    found = site(forecast.ranked(hosts, sites, times, H200).sites, "mul")
    each = 1e6 * 2 * TENSOR_BYTES / 4.8e12 + LAUNCH_US
    assert found.modelled_us == pytest.approx(3 * each)
    assert found.measured_us is None
    assert found.attainable == pytest.approx(
        3 * each / (1e6 * 2 * TENSOR_BYTES / 4.8e12 / 0.7 + LAUNCH_US)
    )


def test_a_product_alone_has_nothing_to_win_by_fusing() -> None:
    hosts, sites = surveyed()
    times = forecast.modelled(hosts, H200)
    found = site(forecast.ranked(hosts, sites, times, H200).sites, "linear")
    flops = 2 * ROWS * COLUMNS * COLUMNS
    assert found.modelled_us == pytest.approx(1e6 * flops / 67e12 + LAUNCH_US)
    assert (found.attainable, found.gain) == (1.0, 0.0)


def test_shares_and_modules_add_up_to_the_whole() -> None:
    hosts, sites = surveyed()
    times = forecast.modelled(hosts, H200)
    profiled = forecast.profiled("block", hosts, times)
    assert profiled.kind == "modelled"
    assert sum(row.self_us or 0 for row in profiled.rows) == pytest.approx(times.whole_us)
    assert {row.path for row in profiled.rows} == {"block", "wide"}
    ranked = forecast.ranked(hosts, sites, times, H200)
    assert sum(one.share or 0 for one in ranked.sites) == pytest.approx(1)


def test_a_model_without_weights_is_modelled_as_the_one_with_them() -> None:
    ranked = []
    for device in ("cpu", "meta"):
        hosts, sites = surveyed(device)
        ranked.append(forecast.ranked(hosts, sites, forecast.modelled(hosts, H200), H200))
    with_weights, without = ranked
    assert [one.share for one in with_weights.sites] == [one.share for one in without.sites]
    assert [one.gain for one in with_weights.sites] == [one.gain for one in without.sites]


def test_what_the_gpu_took_counts_where_it_is_known() -> None:
    hosts, sites = surveyed()
    nodes = [node.name for node in hosts[0].graph.graph.nodes if node.op == "call_function"]
    times = forecast.Times([dict.fromkeys(nodes, 50.0)], 250.0, "measured")
    ranked = forecast.ranked(hosts, sites, times, H200)
    found = site(ranked.sites, "mul")
    assert ranked.kind == "measured"
    assert (found.measured_us, found.modelled_us) == (150.0, None)
    assert found.share == pytest.approx(150 / 250)


@pytest.mark.parametrize(
    ("dtype", "flops_s"), [("float32", 67e12), ("bfloat16", 989.5e12), ("int64", 67e12)]
)
def test_a_product_runs_at_the_peak_of_its_type(dtype: str, flops_s: float) -> None:
    assert H200.time_us(1e12, 0, dtype).us == pytest.approx(1e18 / flops_s + LAUNCH_US)


def test_what_is_no_product_is_left_to_the_vector_units() -> None:
    assert H200.time_us(1e12, 0).us == pytest.approx(1e18 / 67e12 + LAUNCH_US)


def test_an_architecture_has_no_figures_to_model_from() -> None:
    (one,) = (arch for arch in gpu.architectures() if arch.arch == "sm_90")
    with pytest.raises(UsageError, match="name a device"):
        Published.of(one)
