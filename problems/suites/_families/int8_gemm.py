"""A linear layer whose weights are eight bits each, with a scale for every output."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 24), (3, 17, 33), (5, 30, 16), (16, 9, 40), (17, 12, 24), (2, 7, 130)],
    "large": [(1, 4096, 4096), (16, 14336, 4096), (8, 4096, 14336), (512, 4096, 4096)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``(x @ codes.T) * scale + bias``."""

    def forward(
        self, x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        return F.linear(x, codes.to(x.dtype)) * scale + bias


def get_inputs(m: int = 8, n: int = 16, k: int = 64, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    codes = torch.randint(-127, 128, (n, k), dtype=torch.int8)
    scale, bias = torch.rand(n) / 64 + 0.001, torch.randn(n)
    return [torch.randn(m, k).to(kind), codes, scale.to(kind), bias.to(kind)]


def get_init_inputs(m: int = 8, n: int = 16, k: int = 64, dtype: str = "float32") -> list[int]:
    return []
