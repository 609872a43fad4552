"""RMSNorm over the last axis as in Llama: the mean square in float32, the product as the input."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (9, 100), (33, 27), (1, 500)],
    "large": [(1024, 768), (4096, 1024), (4096, 4096), (2048, 4096), (8192, 8192), (16, 131072)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``x / rms(x) * weight``."""

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        hidden = x.float()
        hidden = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)
        return weight * hidden.to(x.dtype)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    return [torch.randn(rows, columns).to(kind), torch.randn(columns).to(kind)]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
