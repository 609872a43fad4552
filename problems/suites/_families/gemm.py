"""A matrix product: M x K with K x N."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8, 24), (3, 17, 33), (5, 64, 16), (17, 40, 24), (33, 18, 40), (2, 7, 300)],
    "large": [
        (2048, 2048, 2048),
        (4096, 4096, 4096),
        (8192, 1024, 1024),
        (1024, 8192, 1024),
        (1024, 1024, 8192),
        (4096, 4096, 512),
        (4096, 11008, 4096),
        (16, 4096, 4096),
        (1023, 1023, 1023),
    ],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``a @ b``."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def get_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    return [torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)]


def get_init_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[int]:
    return []
