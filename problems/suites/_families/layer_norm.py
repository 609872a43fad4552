"""LayerNorm over the last axis with weight and bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (8, 100), (30, 27), (1, 300)],
    "large": [(4096, 1024), (4096, 2048), (8192, 4096), (4096, 5120), (1024, 8192), (16, 131072)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``(x - mean) / deviation * weight + bias``."""

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (columns,), (columns,)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
