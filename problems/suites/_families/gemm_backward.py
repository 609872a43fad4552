"""Gradients of a linear layer with a bias: for its input, its weight and its bias."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8, 24), (3, 17, 23), (5, 30, 16), (17, 14, 12), (9, 18, 20), (40, 7, 6)],
    "large": [(4096, 4096, 4096), (8192, 1024, 4096), (2048, 11008, 4096)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``grad @ weight``, ``grad.T @ x`` and the sum of ``grad`` over its rows."""

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return grad @ weight, grad.t() @ x, grad.sum(0)


def get_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    return [torch.randn(*shape).to(kind) for shape in ((m, k), (n, k), (m, n))]


def get_init_inputs(m: int = 64, n: int = 48, k: int = 96, dtype: str = "float32") -> list[int]:
    return []
