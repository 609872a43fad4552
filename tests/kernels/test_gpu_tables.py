"""The tables of GPUs: complete, with sources, consistent with arithmetic; and names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from kernelite.errors import UsageError
from kernelite.kernels.devices import Ceiling, gpu
from kernelite.kernels.devices.occupancy import occupancy
from kernelite.kernels.devices.specification import Figure, Gpu, Limits

NAMES = "a100 h100 h200 l40s rtx_4090 b200 gb200 mi250x mi300x mi325x mi355x".split()
#: Operations per clock and multiprocessor: white papers of A100, H100, Ada (appendix A, "with
#: FP32 accumulate"), CDNA 2, 3 and 4 (table 1 of each).
VECTOR = {
    "sm_80": {"fp64": 64, "fp32": 128, "fp16": 512, "bf16": 256},
    "sm_89": {"fp64": 4, "fp32": 256, "fp16": 256, "bf16": 256},
    "sm_90": {"fp64": 128, "fp32": 256, "fp16": 512, "bf16": 512},
    "gfx90a": {"fp64": 128, "fp32": 256},
    "gfx942": {"fp64": 128, "fp32": 256},
    "gfx950": {"fp64": 128, "fp32": 256},
}
MATRIX = {
    "sm_80": {"fp64": 128, "tf32": 1024, "fp16": 2048, "bf16": 2048, "int8": 4096, "int4": 8192},
    "sm_89": {"tf32": 512, "fp16": 1024, "bf16": 1024, "fp8": 2048, "int8": 2048},
    "RTX 4090": {
        "tf32": 256, "fp16": 512, "bf16": 512, "fp8": 1024, "int8": 2048, "int4": 4096,
        "fp16_acc16": 1024, "fp8_acc16": 2048,
    },
    "sm_90": {"fp64": 256, "tf32": 2048, "fp16": 4096, "bf16": 4096, "fp8": 8192, "int8": 8192},
    "gfx90a": {"fp64": 256, "fp32": 256, "fp16": 1024, "bf16": 1024, "int8": 1024},
    "gfx942": {
        "fp64": 256, "fp32": 256, "tf32": 1024, "fp16": 2048, "bf16": 2048, "fp8": 4096,
        "int8": 4096,
    },
    "gfx950": {
        "fp64": 128, "fp32": 256, "fp16": 4096, "bf16": 4096, "fp8": 8192, "fp6": 16384,
        "fp4": 16384, "int8": 8192,
    },
}  # fmt: skip
every_gpu = pytest.mark.parametrize("device", gpu.known(), ids=lambda device: device.name)
every_architecture = pytest.mark.parametrize("arch", gpu.architectures(), ids=lambda one: one.name)


def figures(record: Gpu | Limits) -> dict[str, Figure]:
    """Every figure of a record by a name that is its own."""
    found = {part.name: getattr(record, part.name) for part in fields(record)}
    if isinstance(record, Gpu):
        for unit in ("vector", "matrix"):
            found |= {f"{unit} {name}": figure for name, figure in found.pop(unit).items()}
    return {name: figure for name, figure in found.items() if isinstance(figure, Figure)}


def properties(**other: Any) -> SimpleNamespace:
    """What torch shows of an RTX 3090, which is in no table."""
    shown = {
        "name": "NVIDIA GeForce RTX 3090", "major": 8, "minor": 6, "multi_processor_count": 82,
        "total_memory": 25296896000, "L2_cache_size": 6291456, "warp_size": 32,
        "memory_clock_rate": 9751000, "memory_bus_width": 384, "clock_rate": 1695000,
    }  # fmt: skip
    return SimpleNamespace(**{**shown, **other})


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_that_the_project_names_is_in_the_tables(name: str) -> None:
    assert gpu.find(name) in gpu.known()


@every_gpu
def test_every_figure_has_a_source_with_an_address(device: Gpu) -> None:
    for name, figure in {**figures(device), **figures(device.limits)}.items():
        assert "https://" in figure.source, name
        assert figure.value > 0 or name == "shared_reserved"
        assert figure.kind == "published"


@every_gpu
def test_a_gpu_has_the_figures_that_a_roofline_needs(device: Gpu) -> None:
    needed = {"multiprocessors", "memory", "bandwidth", "vector fp64", "vector fp32"}
    needed |= {"matrix fp16", "matrix bf16", "matrix int8"}
    assert needed <= figures(device).keys()
    assert device.infinity_cache is not None or device.arch not in ("gfx942", "gfx950")


@every_gpu
def test_figures_are_kept_in_units_without_a_prefix(device: Gpu) -> None:
    units = {
        "multiprocessors": "multiprocessors", "memory": "bytes", "bandwidth": "bytes/s",
        "l2": "bytes", "infinity_cache": "bytes", "clock": "Hz", "matrix_clock": "Hz",
    }  # fmt: skip
    for name, figure in figures(device).items():
        peak = "ops/s" if "int" in name else "flops/s"
        assert figure.unit == units.get(name, peak), name


@every_architecture
def test_an_architecture_has_every_limit_and_no_peak(arch: Gpu) -> None:
    assert figures(arch.limits).keys() == {limit.name for limit in fields(Limits)}
    assert not figures(arch)


@every_gpu
def test_peaks_are_multiprocessors_times_clock_times_operations(device: Gpu) -> None:
    if device.clock is None or device.matrix_clock is None or device.multiprocessors is None:
        assert device.name in ("H200", "B200", "GB200")  # the next test is theirs
        return
    matrix = MATRIX.get(device.name, MATRIX.get(device.arch, {}))
    for per_clock, peaks in ((VECTOR[device.arch], device.vector), (matrix, device.matrix)):
        for name, figure in peaks.items():
            vector = peaks is device.vector or name == "fp64"
            clock = (device.clock if vector else device.matrix_clock).value
            computed = device.multiprocessors.value * clock * per_clock[name]
            assert figure.value == pytest.approx(computed, rel=0.01), name


def test_where_no_clock_is_published_peaks_have_the_ratios_of_their_kind() -> None:
    for name, peak in gpu.find("h200").matrix.items():
        assert peak.value == pytest.approx(gpu.find("h100").matrix[name].value, rel=0.01)
    for device in (gpu.find("b200"), gpu.find("gb200")):
        fp16 = device.matrix["fp16"].value
        ratios = {"tf32": 0.5, "bf16": 1, "fp8": 2, "fp6": 2, "int8": 2, "fp4": 4}
        for name, ratio in ratios.items():
            assert device.matrix[name].value == pytest.approx(ratio * fp16, rel=0.03), name


@pytest.mark.parametrize(
    ("name", "pins", "gigabits"),
    [  # width of the bus and rate of a pin, as drivers show them or vendors publish
        ("a100", 5120, 2 * 1.593), ("a100_40gb", 5120, 2 * 1.215), ("h100", 5120, 2 * 2.619),
        ("h100_pcie", 5120, 2 * 1.593), ("l40s", 384, 18), ("rtx_4090", 384, 21),
        ("b200", 7680, 2 * 3.996), ("mi250x", 4096, 3.2), ("mi300x", 8192, 5.2),
    ],
)  # fmt: skip
def test_bandwidth_is_pins_times_rate(name: str, pins: int, gigabits: float) -> None:
    published = gpu.find(name).bandwidth
    assert published is not None
    assert published.value == pytest.approx(1e9 * pins * gigabits / 8, rel=0.005)


@pytest.mark.parametrize("device", [*gpu.known(), *gpu.architectures()], ids=lambda one: one.name)
def test_a_gpu_is_found_by_every_alias_however_it_is_spelled(device: Gpu) -> None:
    for name in (device.name, *device.aliases):
        for spelled in (name, name.upper(), name.replace(" ", "_")):
            assert gpu.find(spelled) is device


def test_a_compile_target_is_an_architecture_of_which_no_peak_is_known() -> None:
    target = gpu.find("cuda:90")
    assert target is gpu.find("sm_90a") is gpu.find("sm_90")
    assert target.limits == gpu.find("h200").limits
    assert target.peak("fp16") is None
    assert gpu.find("gfx942:sramecc+:xnack-") is gpu.find("hip:gfx942")


@pytest.mark.parametrize(("name", "near"), [("h2000", "h200"), ("MI300", "mi300x")])
def test_an_unknown_name_is_answered_with_the_nearest_in_one_line(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        gpu.find(name)
    text = str(caught.value)
    assert f"no GPU {name!r} in the tables; did you mean {near!r}? there are: a100, " in text
    assert "\n" not in text


def test_the_peak_of_a_type_is_that_of_the_faster_unit() -> None:
    peak = gpu.find("h100").peak("fp16")
    assert peak is not None
    assert peak.value == 989.4e12
    assert gpu.find("h100").peak("fp4") is None


def test_what_was_measured_stands_in_place_of_what_is_published() -> None:
    measured = Ceiling(4.1e12, "bytes/s", "copy of 4 GiB")
    device = gpu.find("h200").overridden(measured, matrix={"fp16": Ceiling(7e14, "flops/s", "mm")})
    assert device.bandwidth == Figure(4.1e12, "bytes/s", "copy of 4 GiB", kind="measured")
    assert device.matrix["fp16"].kind == "measured"
    assert device.matrix["bf16"] == gpu.find("h200").matrix["bf16"]


def test_a_gpu_in_no_table_works_from_what_is_probed() -> None:
    device = gpu.probed(properties())
    assert device.bandwidth is not None
    assert device.bandwidth.value == pytest.approx(936e9, rel=0.001)  # as its data sheet has it
    assert {figure.kind for figure in figures(device).values()} == {"probed"}
    assert device.limits == gpu.find("sm_86").limits
    assert device.peak("fp16") is None
    assert device.l2 is not None


def test_of_an_unknown_architecture_only_what_the_driver_shows_is_known() -> None:
    device = gpu.probed(properties(major=13, minor=0))
    assert device.arch == "sm_130"
    assert set(figures(device.limits)) == {"warp_size"}
    assert occupancy(device.limits, 32, 0, 4) is None


def test_a_driver_that_shows_0_shows_nothing() -> None:
    device = gpu.probed(properties(memory_clock_rate=0, clock_rate=0))
    assert device.bandwidth is device.clock is None


def test_of_amd_s_driver_neither_l2_nor_memory_clock_is_believed() -> None:
    shown = properties(name="AMD Radeon PRO", gcnArchName="gfx1100:sramecc+", major=11, minor=0)
    device = gpu.probed(shown)
    assert device.arch == "gfx1100"
    assert device.l2 is device.bandwidth is None


def test_a_slice_of_a_gpu_is_not_taken_for_the_whole() -> None:
    whole = properties(name="NVIDIA H200", major=9, minor=0, multi_processor_count=132)
    part = properties(name="NVIDIA H200", major=9, minor=0, multi_processor_count=16)
    assert gpu.detect(whole) is gpu.find("h200")
    assert gpu.detect(part).peak("fp16") is None
    assert gpu.detect(properties()).name == "NVIDIA GeForce RTX 3090"


def test_the_tables_are_read_without_torch() -> None:
    code = "import sys, kernelite.kernels.devices.gpu as gpu; gpu.known()"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
