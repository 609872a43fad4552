"""What this machine can do at best, and how long that makes a piece of work take.

A figure that was measured is a `Ceiling`; a time computed from ceilings is a
`Modelled`.  They are different types, so that one never stands in the other's
column.  Nothing here imports torch: `cpu` detects, `calibrate` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log


@dataclass(frozen=True, slots=True)
class Device:
    """One processor as a program sees it.

    Attributes:
        name: The vendor's model name.
        kind: ``cpu``.
        cores: Cores that this process may run on.
        threads: Threads that its kernels use; every ceiling is for so many.
        simd: Widest instruction set found: ``avx512``, ``avx2`` or ``scalar``.
        caches_bytes: Capacity by level, ``L1``, ``L2``, ``L3``; of one core where
            the level is private, of the whole processor where it is shared.
        shared: Levels that several cores share.
    """

    name: str
    kind: str
    cores: int
    threads: int
    simd: str
    caches_bytes: Mapping[str, int]
    shared: tuple[str, ...] = ()

    @property
    def private_bytes(self) -> int:
        """Capacity of the private caches of all threads together; 0 if unknown."""
        own = [size for level, size in self.caches_bytes.items() if level not in self.shared]
        return max(own, default=0) * self.threads


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The best that a device reaches in one respect.

    Attributes:
        value: In ``unit``.
        unit: ``bytes/s``, ``flops/s`` or ``us``.
        source: What ran, with its size.
        kind: ``measured``: it ran on the device it is about.
    """

    value: float
    unit: str
    source: str
    kind: str = "measured"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes moved per second while going over ``working_set_bytes`` again and again."""

    working_set_bytes: int
    ceiling: Ceiling


@dataclass(frozen=True, slots=True)
class Calibration:
    """Every measured ceiling of one device.

    Attributes:
        copy: Bandwidth of copying by working set, ascending; bytes read and written
            both count, and the working set holds source and destination.
        read: Bandwidth of reading only, by working set, ascending.
        fma: Single-precision peak of all threads; one multiply-add is two operations.
        gemm: Best single-precision matrix product of any library that is installed.
        overhead: Cost of calling an empty parallel kernel through its backend.
        versions: What the figures depend on besides the device.
        seconds: How long measuring took.
    """

    device: Device
    copy: tuple[Bandwidth, ...]
    read: tuple[Bandwidth, ...]
    fma: Ceiling
    gemm: Ceiling
    overhead: Ceiling
    versions: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Modelled:
    """A time that was computed, not measured.

    Attributes:
        us: Overhead included.
        limit: What decides it: ``compute``, ``memory`` or ``overhead``.
    """

    us: float
    limit: str
    kind: str = "modelled"


@dataclass(frozen=True, slots=True)
class Roofline:
    """How fast a calibrated device could do a piece of work.

    After Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009, with the
    bandwidth of the memory level that the working set fits in.
    """

    calibration: Calibration

    def time_us(self, flops: float, bytes: float, working_set_bytes: float) -> Modelled:
        """The larger of computing and moving, plus one call's overhead."""
        compute_us = 1e6 * flops / self.calibration.fma.value
        memory_us = 1e6 * bytes / at_size(self.calibration.copy, working_set_bytes)
        overhead_us = self.calibration.overhead.value
        longest = max(compute_us, memory_us, overhead_us)
        limit = {overhead_us: "overhead", compute_us: "compute", memory_us: "memory"}[longest]
        return Modelled(max(compute_us, memory_us) + overhead_us, limit)


def at_size(table: Sequence[Bandwidth], working_set_bytes: float) -> float:
    """Bytes per second for a working set, between measured sizes by its logarithm."""
    below = [row for row in table if row.working_set_bytes <= working_set_bytes]
    above = [row for row in table if row.working_set_bytes > working_set_bytes]
    if not below or not above:
        return (below[-1:] or above[:1])[0].ceiling.value
    low, high = below[-1], above[0]
    span = log(high.working_set_bytes / low.working_set_bytes)
    part = log(working_set_bytes / low.working_set_bytes) / span
    return low.ceiling.value + part * (high.ceiling.value - low.ceiling.value)
