"""Softmax over the last axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (9, 100), (33, 27), (1, 500)],
    "large": [(4096, 4096), (8192, 8192), (1024, 32768), (32768, 128), (4096, 50257), (16, 131072)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``exp(x) / sum(exp(x))``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(x, -1)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
