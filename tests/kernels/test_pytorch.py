from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelite.kernels.backends import backend, backend_of
from kernelite.kernels.backends.pytorch import BACKEND
from kernelite.kernels.kernel import BuildFailed, Entry, Kernel
from kernelite.problems.problem import Instance, Problem, instantiate

SOURCE = """
import torch


class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 3)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x, power, y):
        return self.norm(self.layer(x)) ** power + y


def get_inputs():
    return [torch.randn(7, 4), 2, torch.randn(3)]


def get_init_inputs():
    return [4]
"""
NEW = SOURCE.replace("class Model(", "class ModelNew(")
RUN = """
import torch


def run(x, y, weight, bias, *norm):
    return torch.nn.functional.linear(x, weight, bias) + y
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "kernelite" / "pytorch"


@pytest.fixture
def instance() -> Instance:
    return instantiate(Problem("p", SOURCE), 0)


def loaded(source: str, instance: Instance) -> Entry:
    kernel = Kernel("pytorch", source)
    return BACKEND.load(kernel, BACKEND.build(kernel), instance.signature)


def same(found: list[torch.Tensor], instance: Instance) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, instance.run(), strict=True))


def test_the_backend_is_found_by_name_and_by_suffix() -> None:
    assert backend("pytorch") is BACKEND
    assert backend_of(Path("a/b.py"), "import torch") == "pytorch"
    assert BACKEND.missing() is None


@pytest.mark.parametrize("source", [NEW, SOURCE], ids=["ModelNew", "Model"])
def test_a_module_gets_the_problem_s_state_and_constants(source: str, instance: Instance) -> None:
    assert same(loaded(source, instance)(instance.arguments), instance)


def test_a_function_gets_the_flat_arguments(instance: Instance) -> None:
    x, y, weight, bias = instance.arguments[:4]
    (found,) = loaded(RUN, instance)(instance.arguments)
    assert torch.equal(found, torch.nn.functional.linear(x, weight, bias) + y)


def test_a_function_comes_before_modules_and_the_new_module_before_the_old(
    instance: Instance,
) -> None:
    wrong = NEW.replace("** power + y", "* 0")
    assert same(loaded(wrong.replace("ModelNew", "Model") + NEW, instance)(instance.arguments),
                instance)  # fmt: skip
    zero = "\n\ndef run(x, *rest):\n    return x * 0\n"
    assert loaded(NEW + zero, instance)(instance.arguments)[0].shape == (7, 4)


def test_new_state_is_seen(instance: Instance) -> None:
    entry = loaded(NEW, instance)
    entry(instance.arguments)
    other = instantiate(Problem("p", SOURCE), 1)
    assert same(entry(other.arguments), other)


def test_state_changed_in_place_is_seen(instance: Instance) -> None:
    entry = loaded(NEW, instance)
    entry(instance.arguments)
    instance.state[0].mul_(2)
    assert same(entry(instance.arguments), instance)


def test_state_that_is_swapped_between_calls_is_seen(instance: Instance) -> None:
    entry, arguments = loaded(NEW, instance), instance.arguments
    first = entry(arguments)[0]
    halved = [*arguments[:2], arguments[2] / 2, *arguments[3:]]
    assert not torch.equal(entry(halved)[0], first)
    assert torch.equal(entry(arguments)[0], first)


def test_parameters_of_the_user_keep_asking_for_gradients(instance: Instance) -> None:
    instance.model.requires_grad_(True)
    weights = list(instance.model.parameters())
    found = loaded(NEW, instance)([*instance.arguments[:2], *weights, *instance.model.buffers()])
    assert all(weight.requires_grad for weight in weights)
    assert not found[0].requires_grad


def test_the_user_s_buffers_are_not_written_to(instance: Instance) -> None:
    before = [tensor.clone() for tensor in instance.state]
    loaded(NEW, instance)(instance.arguments)
    assert all(torch.equal(a, b) for a, b in zip(before, instance.state, strict=True))


def test_nested_results_are_flattened(instance: Instance) -> None:
    source = "def run(x, *rest):\n    return {'a': x, 'b': (x + 1, None)}\n"
    assert len(loaded(source, instance)(instance.arguments)) == 2


def test_one_tensor_is_a_list_of_one(instance: Instance) -> None:
    found = loaded("def run(x, *rest):\n    return x + 1\n", instance)(instance.arguments)
    assert isinstance(found, list)
    assert len(found) == 1


def test_the_text_is_kept_for_tracebacks(cache: Path, instance: Instance) -> None:
    artefact = BACKEND.build(Kernel("pytorch", RUN))
    assert artefact.parent == cache
    assert artefact.read_text() == RUN


@pytest.mark.parametrize("source", ["def run(:\n", "x = '\0'", "return 1"])
def test_a_text_that_is_no_python_is_a_failed_build(source: str) -> None:
    with pytest.raises(BuildFailed, match="Error: "):
        BACKEND.build(Kernel("pytorch", source))


def test_a_text_that_offers_no_entry_is_a_failed_build(instance: Instance) -> None:
    with pytest.raises(BuildFailed, match="defines none of run, ModelNew, Model"):
        loaded("x = 1\n", instance)


def test_constructor_arguments_that_cannot_travel_are_a_failed_build() -> None:
    text = SOURCE.replace("return [4]", "return [4, torch.float32]").replace("width)", "width, d)")
    with pytest.raises(BuildFailed, match="constructor arguments"):
        loaded(text, instantiate(Problem("p", text), 0))


def test_a_module_with_other_state_names_what_is_missing(instance: Instance) -> None:
    entry: Any = loaded(NEW.replace("self.layer", "self.other"), instance)
    with pytest.raises(RuntimeError, match=r"other\.weight"):
        entry(instance.arguments)
