"""A linear layer with a bias and GELU, as a transformer widens its hidden state."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 24), (3, 17, 33), (5, 64, 16), (17, 40, 24), (33, 18, 40), (2, 7, 300)],
    "large": [(4096, 3072, 768), (2048, 16384, 4096), (16, 16384, 4096)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``gelu(x @ weight.T + bias)``, by the tangent's formula."""

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def get_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes = [(m, k), (n, k), (n,)]
    return [torch.randn(*shape).to(kind) for shape in shapes]


def get_init_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[int]:
    return []
