"""Gradients of GeGLU for gate and up, from the gradient of its output."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [
        ("none", 1, 8),
        ("tanh", 3, 17),
        ("tanh", 4, 64),
        ("none", 3, 100),
        ("none", 9, 31),
        ("tanh", 1, 200),
    ],
    "large": [("tanh", 4096, 11008), ("none", 4096, 11008)],
}
WORKLOADS = {
    f"{size}_{approximate}_{rows}x{columns}_{dtype}": {
        "rows": rows, "columns": columns, "approximate": approximate, "dtype": dtype,
    }
    for size, shapes in SIZES.items()
    for approximate, rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """``d loss / d gate`` and ``d loss / d up``."""

    def __init__(self, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate

    def forward(
        self, gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, slope = gate.float(), grad.float()
        into_gate = torch.ops.aten.gelu_backward(
            slope * up.float(), x, approximate=self.approximate
        )
        into_up = slope * F.gelu(x, approximate=self.approximate)
        return into_gate.to(gate.dtype), into_up.to(gate.dtype)


def get_inputs(
    rows: int = 64, columns: int = 128, approximate: str = "none", dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    rows: int = 64, columns: int = 128, approximate: str = "none", dtype: str = "float32"
) -> list[str]:
    return [approximate]
