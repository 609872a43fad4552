"""Sizes that tiles of a problem may have."""

from __future__ import annotations

from collections.abc import Sequence


def power_of_two(size: int) -> int:
    """The least power of two that is no smaller: Triton's blocks have no other sizes."""
    return 1 << max(size - 1, 0).bit_length()


def within(sizes: Sequence[int], size: int) -> list[int]:
    """Those of ``sizes`` that an axis of ``size`` fills, or the one block that covers it."""
    widest = power_of_two(size)
    return [block for block in sizes if block <= widest] or [widest]
