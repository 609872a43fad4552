"""A linear layer whose result is scaled, gated and added to a residual stream."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 24), (3, 17, 33), (5, 64, 16), (17, 40, 24), (33, 18, 40), (2, 7, 300)],
    "large": [(4096, 768, 3072), (2048, 4096, 4096), (16, 4096, 4096)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``residual + sigmoid(gate) * (x @ weight.T) / 2``."""

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, gate: torch.Tensor, residual: torch.Tensor
    ) -> torch.Tensor:
        return residual + torch.sigmoid(gate) * F.linear(x, weight) * 0.5


def get_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes = [(m, k), (n, k), (n,), (m, n)]
    return [torch.randn(*shape).to(kind) for shape in shapes]


def get_init_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[int]:
    return []
