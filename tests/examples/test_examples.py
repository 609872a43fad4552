"""Every example builds, runs, repeats itself, and can be traced as one graph."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import flat_tensors

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "examples").glob("*.py"))
WAYS = [(path, way) for path in FILES for way in ("build", "decode", "full", "full_decode")
        if re.search(rf"^(def {way}\(|{way} = )", path.read_text(), re.M)]  # fmt: skip
RUNNING = [(path, way) for path, way in WAYS if "full" not in way]
FULL = [(path, way) for path, way in WAYS if "full" in way]


def named(value: object) -> str:
    """What a test's case is called."""
    return value.stem if isinstance(value, Path) else str(value)


def load(path: Path) -> Any:
    """The example as a module; skips the test if it needs what is not there."""
    if path.stem.startswith("hf_"):
        pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def build(path: Path, way: str = "build") -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The example's model and inputs; no test changes them."""
    model, inputs = getattr(load(path), way)()
    return model, inputs


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_example_builds_the_same_model_and_inputs_each_time(path: Path) -> None:
    first, second = build(path), load(path).build()
    tensors = [[*made[0].state_dict().values(), *made[1]] for made in (first, second)]
    assert len(tensors[0]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*tensors, strict=True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_example_is_in_evaluation_mode(path: Path) -> None:
    assert not any(module.training for module in build(path)[0].modules())


@pytest.mark.parametrize(("path", "way"), FULL, ids=named)
def test_the_full_width_needs_no_memory_where_there_is_no_gpu(
    path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model, inputs = build(path, way)
    state = list(model.state_dict().values())
    assert all(tensor.is_meta for tensor in (*state, *inputs))
    assert sum(tensor.numel() * tensor.element_size() for tensor in state) > 5e8


@pytest.mark.parametrize(("path", "way"), RUNNING, ids=named)
def test_example_traces_as_one_graph_with_the_same_finite_outputs(path: Path, way: str) -> None:
    model, inputs = build(path, way)
    graph = flat_graph(model, inputs)
    with torch.no_grad():
        traced = graph(*inputs, *model.state_dict().values())
        direct = flat_tensors(model(*inputs))
    assert direct
    for one, other in zip(flat_tensors(traced), direct, strict=True):
        assert other.isfinite().all()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_example_fits_a_laptop(path: Path) -> None:
    model, _ = build(path)
    assert sum(p.numel() * p.element_size() for p in model.state_dict().values()) < 600e6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_example_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 130
