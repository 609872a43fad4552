"""Gradients of RMSNorm for its input and its weight, from the gradient of its output."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (4, 100), (15, 31), (1, 300)],
    "large": [(4096, 1024), (4096, 4096), (8192, 8192)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``d loss / d x`` and ``d loss / d weight``."""

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, slope = x.float(), grad.float() * weight.float()
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)
        normal = hidden * scale
        along = (slope * normal).mean(-1, keepdim=True)
        into_x = scale * (slope - normal * along)
        return into_x.to(x.dtype), (grad.float() * normal).sum(0).to(weight.dtype)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes = [(rows, columns), (columns,), (rows, columns)]
    return [torch.randn(*shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
