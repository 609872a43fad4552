"""Gradients of SwiGLU for gate and up, from the gradient of its output."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (4, 64), (3, 100), (9, 31), (1, 200)],
    "large": [(4096, 11008), (2048, 13824)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``d loss / d gate`` and ``d loss / d up``."""

    def forward(
        self, gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, slope = gate.float(), grad.float()
        open_ = torch.sigmoid(x)
        into_gate = slope * up.float() * open_ * (1 + x * (1 - open_))
        return into_gate.to(gate.dtype), (slope * x * open_).to(gate.dtype)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
