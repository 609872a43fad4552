"""The gate of a Gemma or T5 MLP: GELU, exact or by tanh, of one half times the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [
        ("none", 1, 8),
        ("tanh", 3, 17),
        ("tanh", 5, 64),
        ("none", 4, 100),
        ("none", 15, 31),
        ("tanh", 1, 300),
    ],
    "large": [
        ("tanh", 4096, 11008),
        ("none", 4096, 11008),
        ("tanh", 2048, 16384),
        ("none", 4096, 10240),
    ],
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
    """``gelu(gate) * up``."""

    def __init__(self, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.gelu(gate, approximate=self.approximate) * up


def get_inputs(
    rows: int = 64, columns: int = 128, approximate: str = "none", dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    rows: int = 64, columns: int = 128, approximate: str = "none", dtype: str = "float32"
) -> list[str]:
    return [approximate]
