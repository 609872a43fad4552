from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kernelite.kernels.patch import Patch, patch
from kernelite.problems.capture import hosts
from kernelite.problems.target import Target
from tests.kernels.patching import patched, patched_decoder, runs
from tests.models import HIDDEN, Decoder, decoder

Ready = tuple[Decoder, Tensor, Patch, Tensor]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as context:
        context.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def ready() -> Ready:
    return patched_decoder()


def test_outputs_are_equal_and_every_operator_runs_where_it_should(ready: Ready) -> None:
    model, words, made, before = ready
    assert runs(made, lambda: model(words)) == 29
    assert torch.equal(model(words), before)
    assert made.fallbacks == {}


def test_calls_are_counted_by_operator(ready: Ready) -> None:
    model, words, made, _ = ready
    before = made.calls
    model(words)
    counts = sorted(made.calls[name] - before[name] for name in before)
    assert counts == [1, 1, 1, 1, 2, 2, 2, 3, 4, 4, 8]


def test_the_state_dict_is_the_same_before_while_and_after(ready: Ready) -> None:
    model, _, made, _ = ready
    keys = list(decoder()[0].state_dict())
    assert list(model.state_dict()) == keys
    made.unpatch()
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("assign", [False, True])
def test_state_loaded_after_patching_is_used(ready: Ready, assign: bool) -> None:
    model, words, made, before = ready
    other = copy.deepcopy(model.state_dict())
    for tensor in other.values():
        tensor.mul_(0.5)
    model.load_state_dict(other, assign=assign)
    with made.lifted():
        wanted = model(words)
    assert not torch.equal(wanted, before)
    assert torch.equal(model(words), wanted)
    assert made.fallbacks == {}


def test_weights_changed_in_place_are_used(ready: Ready) -> None:
    model, words, made, _ = ready
    model.layers[0].gate.weight.data.mul_(0.5)  # type: ignore[operator, union-attr]
    with made.lifted():
        wanted = model(words)
    assert torch.equal(model(words), wanted)


def test_a_weight_that_is_replaced_is_used(ready: Ready) -> None:
    model, words, made, before = ready
    model.norm.weight = nn.Parameter(torch.full((HIDDEN,), 3.0), requires_grad=False)
    assert not torch.equal(model(words), before)
    assert made.fallbacks == {}


def test_weights_that_are_no_longer_tied_are_told_apart(ready: Ready) -> None:
    model, words, made, _ = ready
    model.embed.weight = nn.Parameter(model.embed.weight * 2, requires_grad=False)
    with made.lifted():
        wanted = model(words)
    assert torch.equal(model(words), wanted)


def test_a_transient_buffer_that_is_changed_or_replaced_is_used(ready: Ready) -> None:
    model, words, made, _ = ready
    first: Any = model.layers[0]
    for change in (lambda: first.attention.cos.mul_(0.5),
                   lambda: setattr(first.attention, "cos", first.attention.cos * 0.5)):  # fmt: skip
        change()
        with made.lifted():
            wanted = model(words)
        assert torch.equal(model(words), wanted)


@pytest.mark.parametrize("words", [torch.zeros(3, 8, dtype=torch.int64),
                                   torch.zeros(2, 8, dtype=torch.int32)])  # fmt: skip
def test_other_shapes_and_types_run_the_original(ready: Ready, words: Tensor) -> None:
    model, _, made, _ = ready
    with made.lifted():
        wanted = model(words)
    assert runs(made, lambda: model(words)) == 0
    assert torch.equal(model(words), wanted)
    assert made.fallbacks == {"other input shapes": 2}


def test_training_mode_runs_the_original(ready: Ready) -> None:
    model, words, made, _ = ready
    model.train()
    assert runs(made, lambda: model(words)) == 0
    assert made.fallbacks == {"training mode": 1}


def test_another_dtype_runs_the_original(ready: Ready) -> None:
    model, words, made, _ = ready
    model.double()
    assert runs(made, lambda: model(words)) == 0
    assert model(words).dtype == torch.float64
    assert made.fallbacks == {"other state": 2}


def test_autocast_runs_the_original(ready: Ready) -> None:
    model, words, made, _ = ready
    with torch.autocast("cpu", torch.bfloat16):
        assert runs(made, lambda: model(words)) == 0
    assert made.fallbacks == {"autocast": 1}


def test_a_kernel_runs_again_after_a_fallback(ready: Ready) -> None:
    model, words, made, before = ready
    model(words[:1])
    assert torch.equal(model(words), before)
    assert runs(made, lambda: model(words)) == 29


def test_unpatching_gives_back_the_class_s_own_forward(ready: Ready) -> None:
    model, words, made, before = ready
    made.unpatch()
    assert "forward" not in vars(model)
    assert runs(made, lambda: model(words)) == 0
    assert torch.equal(model(words), before)


def test_unpatching_gives_back_a_forward_that_somebody_else_had_swapped() -> None:
    model, words = decoder()
    original = model.forward
    model.forward = lambda words: original(words) + 1
    before = model(words)
    made = patched(model, words)
    assert torch.equal(model(words), before)
    with made.lifted():
        assert torch.equal(model(words), before)
    made.unpatch()
    assert torch.equal(model(words), before)


def test_a_lifted_patch_comes_back_even_after_an_error(ready: Ready) -> None:
    model, words, made, _ = ready
    with pytest.raises(IndexError), made.lifted():
        model(words + 1000)
    assert runs(made, lambda: model(words)) == 29


def test_a_bound_function_has_the_patch_only_while_it_runs(ready: Ready) -> None:
    model, words, made, before = ready
    run = made.bound(lambda: model(words))
    made.unpatch()
    assert runs(made, lambda: model(words)) == 0
    assert runs(made, run) == 29
    assert torch.equal(run(), before)
    assert "forward" not in vars(model)


def test_two_bound_patches_of_one_model_do_not_meet(ready: Ready) -> None:
    model, words, made, _ = ready
    run = made.bound(lambda: model(words))
    made.unpatch()
    found, _ = hosts(Target("m", "m", model, (words,), {}))
    empty = patch(model, found, []).bound(lambda: model(words))
    assert [runs(made, run), runs(made, empty), runs(made, run)] == [29, 0, 29]


def test_hooks_on_the_model_itself_run_once(ready: Ready) -> None:
    model, words, made, _ = ready
    seen: list[int] = []
    model.register_forward_hook(lambda m, a, result: seen.append(1))
    model(words)
    assert seen == [1]
    assert made.fallbacks == {}


def test_gradients_reach_the_weights() -> None:
    model, words = decoder()
    model.requires_grad_(True)
    made = patched(model, words)
    model(words).square().mean().backward()
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    with made.lifted():
        model(words).square().mean().backward()
    for a, b in zip(found, (p.grad for p in model.parameters()), strict=True):
        torch.testing.assert_close(a, b)


def test_a_patched_model_compiles_as_one_graph(ready: Ready) -> None:
    model, words, made, before = ready
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(words), before)
    assert runs(made, lambda: compiled(words)) == 29


def test_patching_twice_and_unpatching_once_leaves_the_first(ready: Ready) -> None:
    model, words, made, before = ready
    with made.lifted():
        second = patched(model, words)
        second.unpatch()
    assert runs(made, lambda: model(words)) == 29
    assert torch.equal(model(words), before)
