"""Batches of matrix products, the second operand transposed as keys are."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8, 24), (3, 17, 33), (5, 64, 16), (17, 40, 24), (33, 18, 40), (2, 7, 300)],
    "large": [(512, 512, 64), (1024, 64, 1024)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``a @ b.T / 8`` for each of 8 pairs of matrices, or of 2 small ones."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = torch.bmm(a, b.transpose(1, 2)) * 0.125
        return scores


def get_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[torch.Tensor]:
    kind, batch = getattr(torch, dtype), 8 if m * n > 1 << 14 else 2
    return [torch.randn(batch, m, k).to(kind), torch.randn(batch, n, k).to(kind)]


def get_init_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[int]:
    return []
