from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.problems.capture import Host, Site, flat_arguments, hosts, sites
from kernelite.problems.problem import instantiate
from kernelite.problems.target import Target
from tests.models import HIDDEN, Layer, Of, decoder


def target(model: nn.Module, *inputs: Any, **named: Any) -> Target:
    return Target("m", "m", model.eval().requires_grad_(False), inputs, named)


class Branching(nn.Module):
    """Layers behind a branch on values, so that only they can be traced."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x) if x.abs().sum() > 0 else x
        return x


@dataclass
class Output:
    """What PyTorch cannot take apart."""

    value: Tensor


X = torch.randn(2, 8, HIDDEN)


@cache
def captured() -> tuple[list[Host], list[Site]]:
    model, words = decoder()
    found, notes = hosts(target(model, words))
    assert notes == []
    return found, sites(model, found)


def test_a_traceable_model_is_one_host() -> None:
    (host,) = captured()[0]
    assert host.paths == ("",)
    assert host.calls == 1


def test_equal_layers_are_one_problem_called_once_per_place() -> None:
    calls = {site.name: (site.calls, len(site.places)) for site in captured()[1]}
    assert calls["layers.*.attention:rotary"] == (4, 4)
    assert calls["layers.*.attention:attention"] == (2, 2)
    assert calls["layers:add+rms_norm"] == (3, 3)
    assert calls["embed:embedding"] == (1, 1)


def test_every_problem_gives_the_model_s_outputs_bit_for_bit() -> None:
    assert all(site.reproduced for site in captured()[1])


def test_every_problem_runs_alone_with_finite_outputs() -> None:
    for site in captured()[1]:
        assert all(output.isfinite().all() for output in instantiate(site.problem, 0).run())


def test_names_of_sites_are_unique() -> None:
    names = [site.name for site in captured()[1]]
    assert len(set(names)) == len(names)


def test_flat_arguments_are_the_example_inputs_and_the_state() -> None:
    model, words = decoder()
    found = flat_arguments(model, hosts(target(model, words))[0][0])
    assert found[0] is words
    assert len(found) == 1 + len(model.state_dict())


@pytest.mark.parametrize("layers", [1, 3])
def test_a_model_that_branches_on_values_is_taken_module_by_module(layers: int) -> None:
    found, notes = hosts(target(Branching(layers), X))
    assert [h.paths for h in found] == [tuple(f"layers.{i}" for i in range(layers))]
    assert found[0].calls == layers
    assert len(notes) == 1
    assert notes[0].startswith("the whole model cannot be traced (")
    assert notes[0].endswith("); its modules are used instead")


def test_sites_of_a_shared_host_count_every_module() -> None:
    model = Branching()
    found, _ = hosts(target(model, X))
    calls = {site.label: site.calls for site in sites(model, found)}
    assert calls["attention"] == 3
    assert calls["rotary"] == 6


def test_modules_of_one_class_with_other_inputs_are_apart() -> None:
    class Two(Branching):
        def forward(self, x: Tensor) -> Tensor:
            x = self.layers[0](x) if x.sum() != 0 else x
            return self.layers[1](x[:1]) + self.layers[2](x[:1])  # type: ignore[no-any-return]

    found, _ = hosts(target(Two(), X))
    assert [h.paths for h in found] == [("layers.0",), ("layers.1", "layers.2")]


@pytest.mark.parametrize("setting", ["eps", "cos", "rate", "function"])
def test_modules_that_differ_in_a_setting_are_apart(setting: str) -> None:
    model = Branching(2)
    first, second = model.layers
    if setting == "cos":
        second.attention.cos.mul_(2)  # type: ignore[operator, union-attr]
    else:
        for layer, value in ((first, 1.0), (second, 2.0)):
            kept = value if setting != "function" else lambda x, value=value: x * value
            setattr(layer.norm1, setting, kept)
    assert [h.paths for h in hosts(target(model, X))[0]] == [("layers.0",), ("layers.1",)]


def test_a_module_called_several_times_counts_each_call() -> None:
    class Again(Branching):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(4):
                x = self.layers[0](x) if x.sum() != 0 else x
            return x

    (host,) = hosts(target(Again(1), X))[0]
    assert host.paths == ("layers.0",)
    assert host.calls == 4


def test_an_untraceable_module_is_searched_inside() -> None:
    found, notes = hosts(target(nn.Sequential(Branching(2), nn.Linear(HIDDEN, 3)), X))
    assert [h.paths for h in found] == [("0.layers.0", "0.layers.1"), ("1",)]
    assert [note.partition(" (")[0] for note in notes] == [
        "the whole model cannot be traced", "0 cannot be traced"
    ]  # fmt: skip


def test_a_forward_hook_is_named_and_its_module_left_alone() -> None:
    model, words = decoder()
    handle = model.layers[1].register_forward_hook(lambda m, a, result: result * 2)
    found, notes = hosts(target(model, words))
    handle.remove()
    assert "forward hooks at layers.1 would be bypassed" in notes[0]
    paths = {path for host in found for path in host.paths}
    assert "layers.0" in paths
    assert "layers.1" not in paths
    assert any(path.startswith("layers.1.") for path in paths)


def test_a_forward_pre_hook_keeps_its_module_out_too() -> None:
    model, words = decoder()
    model.layers[1].register_forward_pre_hook(lambda m, a: (a[0] * 2,))
    found, notes = hosts(target(model, words))
    assert "forward hooks at layers.1 would be bypassed" in notes[0]
    assert "layers.1" not in {path for host in found for path in host.paths}


def test_outputs_that_cannot_be_taken_apart_leave_the_modules() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer()

        def forward(self, x: Tensor) -> Output:
            return Output(self.layer(x))

    found, notes = hosts(target(Wrapped(), X))
    assert [h.paths for h in found] == [("layer",)]
    assert len(notes) == 1


def test_batch_norm_that_learns_is_left_out() -> None:
    class Learning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.layer = nn.BatchNorm1d(8, track_running_stats=True), Layer()

        def forward(self, x: Tensor) -> Tensor:
            statistics = self.norm.running_mean, self.norm.running_var
            return self.layer(F.batch_norm(x, *statistics, training=True))  # type: ignore[no-any-return]

    found, notes = hosts(target(Learning(), X))
    assert "writes to its buffers" in notes[0]
    assert ("layer",) in [h.paths for h in found]


def test_observing_leaves_no_hooks_and_no_changes() -> None:
    model = Branching()
    before = model(X)
    hosts(target(model, X))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(model(X), before)


def test_inputs_are_copied_before_the_model_can_change_them() -> None:
    class Overwriting(Branching):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone() if x.sum() != 0 else x
            y = self.layers[0](x)
            x.zero_()
            return y  # type: ignore[no-any-return]

    found, _ = hosts(target(Overwriting(1), X))
    assert torch.equal(found[0].args[0][0], X)


def test_copied_inputs_keep_their_strides() -> None:
    class Expanding(Branching):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x.expand(3, 8, HIDDEN)) if x.sum() != 0 else x  # type: ignore[no-any-return]

    found, _ = hosts(target(Expanding(1), X[:1]))
    assert found[0].args[0][0].stride() == (0, HIDDEN, 1)


def test_a_mask_among_the_inputs_is_kept_exactly() -> None:
    mask = torch.full((8, 8), -math.inf).triu(1)
    model = Of(lambda x, mask: (x @ x.transpose(-2, -1) + mask).softmax(-1) @ x)
    (site,) = sites(model, hosts(target(model, X, mask))[0])
    kept = [t for t in instantiate(site.problem, 0).arguments if t.shape == mask.shape]
    assert torch.equal(kept[0], mask)


def test_not_a_number_is_reproduced_and_tells_no_other_value() -> None:
    model = Of(lambda x: x.log() * 2)
    (site,) = sites(model, hosts(target(model, torch.tensor([-1.0, 0.0, 1.0])))[0])
    assert site.reproduced


def test_inputs_by_name_reach_the_host() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return x * scale

    (host,) = hosts(target(Named(), X, scale=torch.ones(HIDDEN)))[0]
    assert list(host.args[1]) == ["scale"]


def test_a_model_with_nothing_to_win_has_no_sites() -> None:
    model = Of(lambda x: x.view(-1))
    assert sites(model, hosts(target(model, X))[0]) == []
