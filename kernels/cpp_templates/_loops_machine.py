"""What the templates want to know about this CPU."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

CPU = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
USUAL_CACHE_BYTES = 2**23
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "": 1}


@cache
def vector_bits() -> tuple[int, ...]:
    """Vector widths that the CPU has, widest first; none where g++ has no such preference."""
    text = CPU.read_text() if CPU.exists() else ""
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    if "avx512f" in flags:
        return (512, 256)
    return (256, 128) if "avx2" in flags else ()


@cache
def last_level_bytes() -> int:
    """Size of the largest cache; a usual one where the machine does not say."""
    sizes = []
    for path in CACHES.glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG]?)", path.read_text().strip())
        sizes += [int(found[1]) * UNITS[found[2]]] if found else []
    return max(sizes, default=USUAL_CACHE_BYTES)
