"""A residual is added and the sum normalised, as between the blocks of Llama; both leave."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (4, 100), (15, 31), (1, 300)],
    "large": [(4096, 1024), (4096, 4096), (2048, 8192), (8192, 5120), (16, 4096)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``x + residual`` and its RMSNorm."""

    def forward(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = x + residual
        hidden = total.float()
        hidden = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)
        return weight * hidden.to(x.dtype), total


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns), (columns,)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
