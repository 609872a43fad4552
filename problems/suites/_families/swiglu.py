"""The gate of a Llama MLP: SiLU of one half times the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (4, 100), (15, 31), (1, 300)],
    "large": [(4096, 11008), (2048, 13824), (4096, 14336), (16, 14336)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``silu(gate) * up``."""

    def forward(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
