"""Ends runners that take too much memory, whatever limit of the kernel's they got past.

An address-space limit, where there is one, answers first and more politely; a
process without, such as a baseline or one with a GPU's huge mappings, is only
held by this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.1
LARGEST_BYTES = 16 << 30
SHARE = 0.5  # of the machine's memory
FIRST_TO_DIE = "1000"  # oom_score_adj, see proc(5)


def limit_bytes() -> int:
    """What one runner may hold on this machine."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(LARGEST_BYTES, int(SHARE * total))


def held_bytes(pid: int) -> int:
    """Memory of the process without the files that it only reads; 0 if it is gone."""
    held = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssShmem", "VmSwap"):
                held += int(value.split()[0]) << 10
    return held


def volunteer() -> None:
    """Be the first that the system ends when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_DIE)
