"""The tiles in which a product may be computed, and which to begin with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernelite.kernels.templates import Choice
from kernelite.kernels.triton_templates._stages import Stage
from kernelite.kernels.triton_templates._tiles import power_of_two

MATRIX = {torch.float16: "fp16", torch.bfloat16: "bf16"}
Shape = tuple[int, int, int]
#: What fills the multiprocessors of a GPU.
PROGRAMS = 128
#: Of a block: NVIDIA's from sm_80 on have more, AMD's until gfx942 just this, but hold the
#: run that is loaded last in registers.
SHARED_BYTES, SHARED_BYTES_AMD = 160 << 10, 64 << 10
#: Of a thread, of 32 bits: a half of what there is, for operands and addresses; and what
#: leaves an epilogue enough as well.
ACCUMULATORS, COMFORTABLE = 128, 64
LEAST = 16  # rows, columns and depth of a matrix instruction
SHALLOW = 256  # a part of the summed axis at least
GROUPS = (8, 4, 1)
MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows, columns and depth of a block, its warps, and how many runs are under way."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    def __str__(self) -> str:
        sizes = f"{self.rows}x{self.columns}x{self.depth}"
        return f"{sizes}, {self.warps} warps, {self.stages} stages"

    def fits(self, products: int, element_bytes: int) -> bool:
        """Whether registers and shared memory of every target hold it."""
        run = (self.rows + products * self.columns) * self.depth * element_bytes
        memory = run * self.stages <= SHARED_BYTES and run * (self.stages - 1) <= SHARED_BYTES_AMD
        return memory and self.sums(products) <= ACCUMULATORS

    def sums(self, products: int) -> int:
        """Accumulators of a thread."""
        return products * self.rows * self.columns // (32 * self.warps)

    def count(self, shape: Shape) -> int:
        """How many of them there are in a result of (batch, M, N)."""
        batch, rows, columns = shape
        return batch * -(-rows // self.rows) * -(-columns // self.columns)

    def within(self, shape: Shape) -> bool:
        """Whether no axis of (M, N, K) is less than half of it."""
        sizes = zip(shape, (self.rows, self.columns, self.depth), strict=True)
        return all(own <= max(LEAST, power_of_two(size)) for size, own in sizes)

    def blocks(self) -> dict[str, int]:
        """As host code is told of it."""
        return {"block_m": self.rows, "block_n": self.columns, "block_k": self.depth,
                "warps": self.warps, "stages": self.stages}  # fmt: skip

    @classmethod
    def parsed(cls, name: str) -> Tile:
        """The tile that is called ``name``."""
        return cls(*map(int, re.findall(r"\d+", name)))


#: For two bytes per element: on matrix units, which want large tiles.
HALVES = (
    Tile(128, 128, 64, 8, 3), Tile(128, 256, 32, 8, 3), Tile(128, 128, 32, 4, 4),
    Tile(128, 64, 64, 8, 3), Tile(128, 64, 64, 4, 3), Tile(64, 128, 64, 4, 3),
    Tile(64, 64, 64, 4, 4),
    Tile(32, 64, 64, 4, 4), Tile(16, 128, 64, 4, 4), Tile(16, 64, 128, 4, 4),
    Tile(16, 32, 64, 4, 4), Tile(16, 16, 16, 4, 2),
)  # fmt: skip
#: For four: on vector units, whose operands are in registers.
SINGLES = (
    Tile(64, 64, 16, 8, 3), Tile(64, 64, 16, 4, 3), Tile(32, 64, 32, 4, 3), Tile(32, 32, 32, 4, 3),
    Tile(16, 64, 32, 4, 3), Tile(16, 32, 32, 4, 3), Tile(16, 16, 16, 4, 2),
)  # fmt: skip


def suited(shape: Shape, products: int, element_bytes: int) -> list[Tile]:
    """Those for products of (M, N, K), first the largest comfortable one that fills the device.

    Args:
        shape: M, batches included, N and K.
        products: How many are computed at once.
        element_bytes: Of an operand.
    """
    every = HALVES if element_bytes == 2 else SINGLES
    found = [t for t in every[:-1] if t.fits(products, element_bytes) and t.within(shape)]
    found = found or [every[-1]]
    easy = [tile for tile in found if tile.sums(products) <= COMFORTABLE] or found
    filling = [tile for tile in easy if tile.count((1, *shape[:2])) >= PROGRAMS]
    first = filling[0] if filling else max(easy, key=lambda tile: tile.count((1, *shape[:2])))
    return [first, *(tile for tile in found if tile is not first)]


def space(stage: Stage, element_bytes: int) -> dict[str, Sequence[Choice]]:
    """The open parameters of one stage; see `kernels.templates.Plan`."""
    batch, rows, columns = stage.shape
    ordered = suited((batch * rows, columns, stage.inner), len(stage.rights), element_bytes)
    missing = PROGRAMS // ordered[0].count(stage.shape)
    deep = power_of_two(stage.inner // SHALLOW + 1) // 2
    parts = min(power_of_two(missing + 1) // 2, max(deep, 1), MOST_PARTS)
    few = tuple(dict.fromkeys((max(parts, 1), 1, 2, 4))) if missing and deep > 1 else (1,)
    return {"tile": [str(tile) for tile in ordered], "group": GROUPS, "split": few}
