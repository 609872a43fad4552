"""Nsight Compute's counters of one call of a kernel, where it is installed and allowed.

Drivers keep them from ordinary users unless told otherwise (ERR_NVGPUCTRPERM at NVIDIA's site), so
that "unknown" is a usual answer.  The call is that of `harness.sanitized`.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NAME = "ncu"
FOLDERS = ("/usr/local/cuda/bin", "/opt/nvidia/nsight-compute")
#: Names of the metrics, and here; shares are of the peak, in percent.
METRICS: Mapping[str, str] = {
    "gpu__time_duration.sum": "ns",
    "dram__bytes.sum": "dram_bytes",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "lts__t_sector_hit_rate.pct": "l2_hit_percent",
}
OPTIONS = ("--csv", "--page", "raw", "--print-units", "base", "--profile-from-start", "off",
           "--metrics", ",".join(METRICS))  # fmt: skip
KERNEL, GRID, BLOCK = "Kernel Name", "Grid Size", "Block Size"


@dataclass(frozen=True, slots=True)
class Counted:
    """What one launch made the GPU do; a counter that is not told is not there."""

    kernel: str
    counters: Mapping[str, float]


def path() -> str | None:
    """Where the tool is installed; None if it is not."""
    return shutil.which(NAME, path=os.pathsep.join((os.environ.get("PATH", ""), *FOLDERS)))


def command(tool: str) -> list[str]:
    """What stands in front of a program that it watches."""
    return [tool, *OPTIONS]


def parsed(text: str) -> list[Counted] | str:
    """The launches in what the tool printed, or why there are none."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID",')), None)
    if start is None:
        errors = [line.strip("= ") for line in lines if line.startswith("==ERROR==")]
        said = errors or [line for line in lines if line.strip()][-1:]
        return said[0].removeprefix("ERROR==").strip() if said else "it said nothing"
    rows = list(csv.DictReader(line for line in lines[start:] if line.startswith('"')))
    found = [Counted(row[KERNEL], _numbers(row)) for row in rows if row.get("ID")]
    return found or "it saw no kernel"


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    numbers = {}
    for metric, name in METRICS.items():
        try:
            numbers[name] = float(row[metric].replace(",", ""))
        except (KeyError, ValueError, AttributeError):
            continue
    return numbers


def shares(found: Sequence[Counted]) -> list[dict[str, object]]:
    """As JSON values."""
    return [{"kernel": one.kernel, **one.counters} for one in found]
