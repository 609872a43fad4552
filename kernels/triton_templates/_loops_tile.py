"""What the kernel of a nest is told: its tile, and what its programs sum up."""

from __future__ import annotations

from dataclasses import dataclass

from kernelite.kernels.loops.nest import Store


@dataclass(frozen=True, slots=True)
class Tile:
    """How one kernel is shaped.

    Attributes:
        rows: Rows that a program holds, a power of two; 1 without reductions.
        columns: Columns that it holds at once, a power of two; of whole rows the longest.
        chunked: Whether a row is walked in runs of columns.
        warps: Of a program.
        stages: Runs of columns that are under way at once.
    """

    rows: int
    columns: int
    chunked: bool
    warps: int
    stages: int = 1


@dataclass(frozen=True, slots=True)
class Partial(Store):
    """What each of so many programs sums up over its rows: a row of ``name`` for each."""

    programs: int = 1


def power_of_two(size: int) -> int:
    """The smallest power of two that is not below ``size``."""
    return 1 << max(size - 1, 0).bit_length()
