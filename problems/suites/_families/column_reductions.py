"""Statistics of each column from one reading of all rows."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(8, 1), (17, 3), (64, 5), (100, 9), (27, 33), (7, 130)],
    "large": [(4096, 4096), (8192, 8192), (32768, 1024), (65536, 128)],
}
WORKLOADS = {
    f"{size}_{rows}x{columns}_{dtype}": {"rows": rows, "columns": columns, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """Sum, mean, maximum and sum of squares over the first axis."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.sum(0), x.mean(0), x.amax(0), x.float().square().sum(0)


def get_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(rows: int = 64, columns: int = 128, dtype: str = "float32") -> list[int]:
    return []
