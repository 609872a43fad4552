"""Did the GPU keep its speed while it was timed?  NVML's answer, asked by the judge.

Nothing is claimed of a GPU that slowed down between the first round and the last.  Without NVML
(``pip install 'kernelite[gpu]'``) that is unknown, and only the control is left to tell noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from kernelite.harness.verdict import GpuClocks

#: nvml.h, nvmlClocksEventReason*: why the clocks are lower than they could be.  An idle GPU (1), a
#: user's own clocks (2, 256) and boards that boost together (16) are no reasons to doubt a time.
THROTTLING = {
    4: "power cap", 8: "hardware slowdown", 32: "temperature, by software",
    64: "temperature, by hardware", 128: "power brake", 512: "board limit", 1024: "reliability",
}  # fmt: skip
MW_PER_W = 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """What NVML said at one moment.

    Attributes:
        sm_mhz: Clock of the multiprocessors.
        reasons: Bits of nvmlClocksEventReasons.
    """

    sm_mhz: int
    power_w: float
    reasons: int


def read(pci: str) -> Reading | None:
    """The GPU at this place of the PCI bus as it is now; None if NVML cannot tell."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(pci.encode())
        return Reading(
            int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            nvml.nvmlDeviceGetPowerUsage(handle) / MW_PER_W,
            int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        )
    except nvml.NVMLError:
        return None


def between(before: Reading | None, after: Reading | None) -> GpuClocks | None:
    """The record of a timing that began and ended with these; None if either is unknown."""
    if before is None or after is None:
        return None
    bits = before.reasons | after.reasons
    slowed = tuple(name for bit, name in THROTTLING.items() if bits & bit)
    return GpuClocks(before.sm_mhz, after.sm_mhz, before.power_w, after.power_w, slowed)
