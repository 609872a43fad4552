"""What a GPU's clocks allow to claim, from plain numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernelite.harness import gpu_clocks
from kernelite.harness.gpu_clocks import Reading
from kernelite.harness.verdict import Control, GpuClocks, Ratio, Timing, timing_json
from kernelite.results.events import as_verdict

BUSY = Reading(sm_mhz=1980, power_w=420.5, reasons=0)
RATIO = Ratio("eager", 2.0, 1.9, 2.1, 10.0, 20.0, 30)
QUIET = Control(1.0, 0.999, 1.001)


def timing(before: Reading, after: Reading) -> Timing:
    clocks = gpu_clocks.between(before, after)
    return Timing("a GPU", "cold", (RATIO,), QUIET, gpu=clocks)


@pytest.mark.parametrize(
    ("after", "claim"),
    [(1980, "faster"), (2100, "faster"), (1881, "faster"), (1880, "noisy")],
)
def test_nothing_is_claimed_of_a_gpu_that_slowed_down(after: int, claim: str) -> None:
    assert timing(BUSY, replace(BUSY, sm_mhz=after)).claim(RATIO) == claim


@pytest.mark.parametrize("reasons", [4, 8, 32, 64, 128, 512, 1024])
def test_nothing_is_claimed_of_a_gpu_that_was_held_back(reasons: int) -> None:
    assert timing(replace(BUSY, reasons=reasons), BUSY).claim(RATIO) == "noisy"
    assert timing(BUSY, replace(BUSY, reasons=reasons)).claim(RATIO) == "noisy"


@pytest.mark.parametrize("reasons", [0, 1, 2, 16, 256, 1 | 2])
def test_an_idle_gpu_and_clocks_of_the_users_choice_are_no_reason_to_doubt(reasons: int) -> None:
    assert timing(replace(BUSY, reasons=reasons), BUSY).claim(RATIO) == "faster"


def test_each_reason_is_named_once() -> None:
    clocks = gpu_clocks.between(replace(BUSY, reasons=4 | 64), replace(BUSY, reasons=4))
    assert clocks == GpuClocks(1980, 1980, 420.5, 420.5, ("power cap", "temperature, by hardware"))


@pytest.mark.parametrize(("before", "after"), [(None, BUSY), (BUSY, None), (None, None)])
def test_half_a_record_is_none(before: Reading | None, after: Reading | None) -> None:
    assert gpu_clocks.between(before, after) is None


def test_a_gpu_that_nvml_cannot_tell_of_is_unknown() -> None:
    assert gpu_clocks.read("0000:ff:1f.7") is None


def test_the_record_goes_into_the_document_and_comes_out_of_it() -> None:
    written = timing_json(timing(BUSY, replace(BUSY, sm_mhz=1900)))
    read = as_verdict({"verdict": "passed", "timing": written}).timing
    assert read is not None
    assert read.gpu is not None
    assert (read.gpu["before_mhz"], read.gpu["after_mhz"], list(read.gpu["slowed"])) == (
        1980, 1900, [],
    )  # fmt: skip


def test_documents_from_before_there_was_a_record_are_still_read() -> None:
    written = timing_json(Timing("a CPU", "warm", (RATIO,), QUIET))
    del written["gpu"]
    read = as_verdict({"verdict": "passed", "timing": written}).timing
    assert read is not None
    assert read.gpu is None
