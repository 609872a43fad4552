from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelite.errors import UsageError
from kernelite.problems.target import load

HEAD = "import torch\nfrom torch import nn\n\n\n"
LAYER = "nn.Linear(4, 3)"


def file(folder: Path, text: str, name: str = "model.py") -> str:
    (folder / name).write_text(HEAD + text)
    return str(folder / name)


def refused(text: str) -> str:
    with pytest.raises(UsageError) as error:
        load(text, 0)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "inputs", ["torch.ones(2, 4)", "(torch.ones(2, 4),)", "[torch.ones(2, 4)]"]
)
def test_a_factory_returns_a_model_and_its_inputs(tmp_path: Path, inputs: str) -> None:
    path = file(tmp_path, f"def build():\n    return {LAYER}, {inputs}\n")
    found = load(f"{path}:build", 0)
    assert found.name == "model"
    assert found.text == f"{path}:build"
    assert found.run().shape == (2, 3)


def test_inputs_by_name_are_passed_by_name(tmp_path: Path) -> None:
    path = file(tmp_path, f"def build():\n    return {LAYER}, dict(input=torch.ones(2, 4))\n")
    found = load(f"{path}:build", 0)
    assert found.args == ()
    assert list(found.kwargs) == ["input"]


def test_a_model_alone_takes_the_inputs_beside_it(tmp_path: Path) -> None:
    text = f"def build():\n    return {LAYER}\n\ndef get_inputs():\n    return [torch.ones(5, 4)]\n"
    assert load(file(tmp_path, text) + ":build", 0).args[0].shape == (5, 4)


def test_a_model_that_knows_dummy_inputs_needs_no_others(tmp_path: Path) -> None:
    text = "class M(nn.Linear):\n    dummy_inputs = {'input': torch.ones(1, 4)}\n"
    found = load(file(tmp_path, text + "\ndef build():\n    return M(4, 3)\n") + ":build", 0)
    assert list(found.kwargs) == ["input"]


def test_a_problem_file_needs_no_factory(tmp_path: Path) -> None:
    text = (
        f"class Model(nn.Sequential):\n    def __init__(self):\n        super().__init__({LAYER})\n"
        "def get_inputs():\n    return [torch.randn(2, 4)]\ndef get_init_inputs():\n    return []\n"
    )
    assert load(file(tmp_path, text), 0).run().shape == (2, 3)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    path = file(tmp_path, f"def build():\n    return {LAYER}, torch.ones(2, 4)\n") + ":build"
    outputs = [load(path, seed).run() for seed in (1, 1, 2)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_the_model_is_put_in_evaluation_mode(tmp_path: Path) -> None:
    path = file(tmp_path, "def build():\n    return nn.Dropout(), torch.ones(9)\n")
    assert torch.equal(load(f"{path}:build", 0).run(), torch.ones(9))


def test_a_target_runs_without_gradients(tmp_path: Path) -> None:
    path = file(tmp_path, f"def build():\n    return {LAYER}, torch.ones(2, 4)\n")
    assert not load(f"{path}:build", 0).run().requires_grad


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    file(tmp_path, "def layer():\n    return nn.Linear(4, 3)\n", "kernelite_neighbour.py")
    text = (
        "from kernelite_neighbour import layer\n\ndef build():\n    return layer(), torch.ones(4)\n"
    )
    assert load(file(tmp_path, text) + ":build", 0).run().shape == (3,)


@pytest.mark.parametrize(
    ("text", "factory", "said"),
    [
        ("def build(): 1 / 0", "build", "raised ZeroDivisionError: division by zero"),
        ("1 / 0", "build", "does not import: ZeroDivisionError"),
        ("def build(): return 7", "build", "returned int; it must return a torch.nn.Module"),
        ("def build(): return nn.Identity()", "build", "returned a model without inputs"),
        ("def make(): pass\ndef _own(): pass", "build", "no function 'build' in"),
        ("def make(): pass\ndef _own(): pass", "build", "there are: make"),
        ("build = 3", "build", "there are: none"),
        (f"def build(): return {LAYER}, torch.ones(5)", "build", "does not accept its inputs"),
        ("def build(): raise ValueError('a\\nb')", "build", "raised ValueError: a"),
        ("x = 1", "", "does not define Model, get_inputs, get_init_inputs"),
    ],
)
def test_a_target_that_does_not_work_is_one_line(
    tmp_path: Path, text: str, factory: str, said: str
) -> None:
    path = file(tmp_path, text + "\n")
    assert said in refused(f"{path}:{factory}" if factory else path)


@pytest.mark.parametrize("text", ["missing.py", "missing.py:build", "", ":build"])
def test_a_missing_file_is_answered_with_the_forms_there_are(text: str) -> None:
    assert "give file.py:factory, or a problem file" in refused(text)


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("words")
    assert "is not a Python file" in refused(f"{tmp_path / 'model.txt'}:build")
