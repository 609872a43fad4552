from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kernelite.problems.graph import flat_graph
from kernelite.problems.profile import OUTSIDE, ModelProfile, ModuleTime, node_times, profile


class Halves(nn.Module):
    """One wide layer, one thin layer called twice, and an addition of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(256, 2048, bias=False)
        self.thin = nn.Linear(2048, 2048, bias=False)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        hidden = self.wide(x)
        return self.thin(hidden + 1) + self.thin(hidden) * scale


class Raises(nn.Module):
    """Fails inside a child."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.fixture(scope="module")
def seen() -> ModelProfile:
    return profile(Halves().eval(), [torch.randn(64, 256)], {"scale": 2.0}, repeats=3)


def row(seen: ModelProfile, path: str) -> ModuleTime:
    return next(module for module in seen.modules if module.path == path)


def test_self_times_sum_to_the_wall_time(seen: ModelProfile) -> None:
    assert sum(module.self_us for module in seen.modules) == pytest.approx(seen.wall_us)
    assert sum(module.share for module in seen.modules) == pytest.approx(1)


def test_the_wall_time_is_the_median_of_the_plain_runs(seen: ModelProfile) -> None:
    assert seen.wall_us == sorted(seen.samples_us)[1]


def test_every_module_and_the_rest_have_a_row(seen: ModelProfile) -> None:
    assert {m.path for m in seen.modules} == {"", "wide", "thin", OUTSIDE}


def test_the_larger_layer_takes_more_time_than_the_smaller(seen: ModelProfile) -> None:
    assert row(seen, "thin").self_us > row(seen, "wide").self_us > 0


def test_calls_and_class_names_are_known(seen: ModelProfile) -> None:
    assert [row(seen, path).calls for path in ("wide", "thin")] == [1, 2]
    assert row(seen, "thin").label == "Linear"


def test_flops_of_a_layer_are_two_per_weight_and_row_and_call(seen: ModelProfile) -> None:
    assert row(seen, "wide").flops == 2 * 64 * 256 * 2048
    assert row(seen, "thin").flops == 2 * 2 * 64 * 2048 * 2048


def test_bytes_of_a_layer_are_its_input_weight_and_output(seen: ModelProfile) -> None:
    assert row(seen, "wide").bytes == 4 * (64 * 256 + 256 * 2048 + 64 * 2048)


def test_what_the_model_does_itself_is_its_own(seen: ModelProfile) -> None:
    assert row(seen, "").flops == 3 * 64 * 2048
    assert row(seen, "").label == "Halves"


def test_no_hook_is_left_behind() -> None:
    model = nn.Sequential(nn.Linear(4, 4)).eval()
    profile(model, [torch.randn(2, 4)], repeats=1)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_no_hook_is_left_behind_by_a_model_that_fails() -> None:
    model = Raises()
    with pytest.raises(RuntimeError, match="shapes"):
        profile(model, [torch.randn(2, 5)])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_product_takes_most_of_a_graph_s_time_and_views_next_to_none() -> None:
    model = nn.Sequential(nn.Linear(1024, 1024), nn.Flatten(0)).eval()
    x = torch.randn(256, 1024)
    times = node_times(flat_graph(model, (x,)), [x, *model.state_dict().values()], repeats=3)
    assert times["linear"] > 0.8 * sum(times.values())


def test_node_times_has_one_entry_per_call() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval()
    graph = flat_graph(model, (torch.randn(2, 8),))
    times = node_times(graph, [torch.randn(2, 8), *model.state_dict().values()])
    assert set(times) == {n.name for n in graph.graph.nodes if n.op == "call_function"}
