"""Which CPU is this, read from what the kernel says about it; nothing is assumed."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from kernelite.kernels.devices import Device

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
#: What generated code may use at each level, widest first.
SIMD = (
    ("avx512", frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})),
    ("avx2", frozenset({"avx2", "fma"})),
)
SCALE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def detect(threads: int | None = None) -> Device:
    """The CPU that this process runs on; ``threads`` is the number of usable cores if None."""
    fields = cpu_fields()
    name = fields.get("model name") or platform.processor() or platform.machine()
    cores = usable_cores()
    sizes, shared = cache_sizes()
    simd = simd_of(frozenset(fields.get("flags", "").split()))
    return Device(name.strip(), "cpu", cores, threads or cores, simd, sizes, shared)


def usable_cores() -> int:
    """Cores in this process's affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def simd_of(flags: frozenset[str]) -> str:
    """The widest instruction set whose every part is among the CPU's ``flags``."""
    return next((name for name, needed in SIMD if needed <= flags), "scalar")


def cpu_fields() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    if not CPUINFO.exists():
        return {}
    first = CPUINFO.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cache_sizes(folder: Path = CACHES) -> tuple[dict[str, int], tuple[str, ...]]:
    """Bytes by cache level, data and unified ones only, and which levels are shared."""
    sizes: dict[str, int] = {}
    shared: list[str] = []
    for entry in sorted(folder.glob("index*")):
        if _line(entry / "type") == "Instruction":
            continue
        found = re.fullmatch(r"(\d+)([KMG]?)", _line(entry / "size"))
        if found is None:
            continue
        level = f"L{_line(entry / 'level')}"
        sizes[level] = int(found[1]) * SCALE[found[2]]
        if re.search(r"[-,]", _line(entry / "shared_cpu_list")):
            shared.append(level)
    return sizes, tuple(shared)


def _line(path: Path) -> str:
    """The file's text; empty where the kernel does not offer it."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
