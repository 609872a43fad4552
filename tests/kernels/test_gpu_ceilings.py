"""Measured ceilings of a GPU: kept, found again, and measured where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelite.kernels.devices import Ceiling, gpu_ceilings
from kernelite.kernels.devices.gpu_ceilings import GpuCalibration


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_what_was_measured_is_known_of_that_model_only(tmp_path: Path) -> None:
    products = {"float16": Ceiling(8e14, "flops/s", "mm")}
    found = GpuCalibration("NVIDIA H200", Ceiling(4e12, "bytes/s", "copy"), products,
                           gpu_ceilings.versions(), 2.5)  # fmt: skip
    assert gpu_ceilings.known("NVIDIA H200") is None
    gpu_ceilings.keep(found)
    assert gpu_ceilings.known("NVIDIA H200") == found
    assert gpu_ceilings.known("NVIDIA H100") is None
    next((tmp_path / "kernelite" / "calibration").glob("*.json")).write_text("{}")
    assert gpu_ceilings.known("NVIDIA H200") is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU here")
def test_a_gpu_copies_and_multiplies_and_its_matrix_units_are_faster() -> None:
    found = gpu_ceilings.measure("cuda:0")
    assert found.copy.value > 1e11
    assert found.products["float16"].value > found.products["float32"].value > 1e12
