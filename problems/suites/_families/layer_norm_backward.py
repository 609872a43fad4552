"""Gradients of LayerNorm for its input, weight and bias, from the gradient of its output."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (4, 64), (3, 100), (9, 31), (1, 200)],
    "large": [(4096, 1024), (8192, 4096), (4096, 5120)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``d loss / d x``, ``d loss / d weight`` and ``d loss / d bias``."""

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden, slope = x.float(), grad.float() * weight.float()
        centred = hidden - hidden.mean(-1, keepdim=True)
        scale = torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
        normal = centred * scale
        along = (slope * normal).mean(-1, keepdim=True)
        into_x = scale * (slope - slope.mean(-1, keepdim=True) - normal * along)
        into_weight = (grad.float() * normal).sum(0)
        return into_x.to(x.dtype), into_weight.to(x.dtype), grad.float().sum(0).to(x.dtype)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (columns,), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
