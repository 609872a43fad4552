from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelite.kernels.devices import (
    Bandwidth,
    Calibration,
    Ceiling,
    Device,
    Modelled,
    Roofline,
    at_size,
    calibrate,
    cpu,
)

TABLE = (
    Bandwidth(1000, Ceiling(100.0, "bytes/s", "test")),
    Bandwidth(100_000, Ceiling(20.0, "bytes/s", "test")),
)
ONE_THREAD = cpu.detect(1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache that the tests of this file share."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "kernelite" / "calibration"


@pytest.fixture(scope="module")
def measured(cache: Path) -> Calibration:
    """On one thread: several wait for each other where other programs run."""
    return calibrate.load_or_measure(ONE_THREAD)


def hand_made() -> Calibration:
    """1e12 operations and 1e9 bytes a second, 5 us a call."""
    table = (Bandwidth(1000, Ceiling(1e9, "bytes/s", "test")),)
    peak, overhead = Ceiling(1e12, "flops/s", "test"), Ceiling(5.0, "us", "test")
    device = Device("test", "cpu", 2, 2, "scalar", {"L1": 1024})
    return Calibration(device, table, table, peak, peak, overhead, {}, 0.0)


def test_the_cpu_has_a_name_cores_and_caches() -> None:
    device = cpu.detect()
    assert device.name
    assert device.cores >= 1
    assert device.threads == device.cores
    assert all(size > 0 for size in device.caches_bytes.values())


@pytest.mark.parametrize(
    ("flags", "simd"),
    [
        ("avx512f avx512bw avx512dq avx512vl avx2 fma", "avx512"),
        ("avx512f avx2 fma", "avx2"),
        ("avx2", "scalar"),
        ("", "scalar"),
    ],
)
def test_an_instruction_set_counts_only_when_all_of_it_is_there(flags: str, simd: str) -> None:
    assert cpu.simd_of(frozenset(flags.split())) == simd


def test_cache_sizes_leave_instructions_out_and_say_what_is_shared(tmp_path: Path) -> None:
    for index, (kind, size, level, sharers) in enumerate(
        [("Data", "32K", "1", "0"), ("Instruction", "64K", "1", "0"), ("Unified", "8M", "3", "0-7")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in zip(
            ("type", "size", "level", "shared_cpu_list"), (kind, size, level, sharers), strict=True
        ):
            (folder / name).write_text(text + "\n")
    assert cpu.cache_sizes(tmp_path) == ({"L1": 32 << 10, "L3": 8 << 20}, ("L3",))


def test_bandwidth_between_two_sizes_lies_between_their_rates() -> None:
    assert at_size(TABLE, 10_000) == pytest.approx(60.0)


def test_bandwidth_beyond_the_table_is_that_of_its_end() -> None:
    assert (at_size(TABLE, 1), at_size(TABLE, 10**9)) == (100.0, 20.0)


def test_the_roofline_is_the_slower_of_computing_and_moving() -> None:
    line = Roofline(hand_made())
    assert line.time_us(1e8, 1000, 1000) == Modelled(105.0, "compute")
    assert line.time_us(1e6, 1e6, 1000) == Modelled(1005.0, "memory")
    assert line.time_us(0, 0, 1000) == Modelled(5.0, "overhead")


def test_every_measured_ceiling_is_positive_and_says_so(measured: Calibration) -> None:
    singles = [measured.fma, measured.gemm, measured.overhead]
    ceilings = singles + [row.ceiling for row in (*measured.copy, *measured.read)]
    assert all(c.value > 0 and c.kind == "measured" and c.source for c in ceilings)


def test_a_cache_is_not_slower_than_half_of_memory(measured: Calibration) -> None:
    assert measured.copy[0].ceiling.value >= 0.5 * measured.copy[-1].ceiling.value


def test_no_library_beats_the_multiply_add_peak_by_more_than_noise(measured: Calibration) -> None:
    assert measured.gemm.value <= 2 * measured.fma.value


def test_a_calibration_survives_json(measured: Calibration) -> None:
    document = json.loads(json.dumps(calibrate.as_json(measured)))
    assert document["schema"] == "kernelite.calibration/1"
    assert calibrate.from_json(document) == measured


def test_a_second_call_reads_what_the_first_measured(measured: Calibration) -> None:
    assert calibrate.load_or_measure(ONE_THREAD) == measured


def test_a_damaged_calibration_is_measured_again(measured: Calibration, cache: Path) -> None:
    (kept,) = cache.iterdir()
    kept.write_text('{"schema"')
    calibrate.load_or_measure(ONE_THREAD)
    assert json.loads(kept.read_text())["schema"] == "kernelite.calibration/1"
