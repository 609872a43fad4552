"""Gradient of softmax for its input, from what it computed and the gradient of that."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (4, 100), (15, 31), (1, 300)],
    "large": [(4096, 4096), (32768, 128), (1024, 32768)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``d loss / d x``; ``x`` gives the weights, as it does in a forward pass."""

    def forward(self, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        weights = F.softmax(x.float(), -1)
        slope = grad.float()
        into_x = weights * (slope - (slope * weights).sum(-1, keepdim=True))
        return into_x.to(x.dtype)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
