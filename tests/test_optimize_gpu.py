"""`kernelite optimize --device cuda`, and `resume` where the GPU is that a run waits for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from kernelite.kernels.devices import gpu
from kernelite.results import records
from tests.workshop import Workshop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU here"),
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.at(tmp_path_factory.mktemp("gpu"))


def whole_model(found: dict[str, Any], workshop: Workshop, out: str) -> None:
    """What every run on the GPU must say of the model."""
    assert found["absent"] is False
    assert found["model"]["verified"] is True
    assert {"eager", "patched", "compile"} <= set(found["model"]["latency_us"])
    for ratio in found["model"]["speedup"].values():
        assert ratio["lower"] <= ratio["median"] <= ratio["upper"]
    assert workshop.events(out)[-1].kind == "run_finished"


def test_a_run_on_the_gpu_measures_everything_there(workshop: Workshop) -> None:
    code, text, said = workshop.kernelite(
        "optimize", "model.py:build", "--device", "cuda", "--out", "here", "--json",
        "--budget-seconds", 60,
    )  # fmt: skip
    assert code in (0, 1), said
    found = json.loads(text)
    whole_model(found, workshop, "here")
    assert found["kind"] == "measured"
    assert all(site["share"] > 0 for site in found["sites"])
    verdicts = [e.verdict for e in workshop.bodies("here", records.Evaluated)]
    assert {verdict.kind for verdict in verdicts} == {"measured"}
    assert any(verdict.timing for verdict in verdicts)


def test_what_a_run_without_the_gpu_has_found_is_timed_on_it(workshop: Workshop) -> None:
    name = gpu.detect(torch.cuda.get_device_properties(0)).name
    line = ("optimize", "model.py:build", "--target", name, "--out", "there", "--json")
    code, text, said = workshop.kernelite(*line, "--budget-seconds", 60)
    assert code == 0, said
    waiting = {k["id"] for site in json.loads(text)["sites"] for k in site["shortlist"]}

    code, text, said = workshop.kernelite("resume", "there", "--json")
    assert code in (0, 1), said
    whole_model(json.loads(text), workshop, "there")
    timed = {
        e.candidate
        for e in workshop.bodies("there", records.Evaluated)
        if e.verdict.kind == "measured"
    }
    assert waiting <= timed
