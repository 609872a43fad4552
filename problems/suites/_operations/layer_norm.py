"""Layer normalisation of rows, with weight and bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"rows": 64, "dim": 384},
    "medium": {"rows": 788, "dim": 1024},
    "large": {"rows": 4096, "dim": 1536},
}


class Model(torch.nn.Module):
    """Rows with mean 0 and variance 1, scaled and shifted."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(1 + 0.1 * torch.randn(dim))
        self.bias = torch.nn.Parameter(0.1 * torch.randn(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


def get_inputs(rows: int = 788, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim)]


def get_init_inputs(rows: int = 788, dim: int = 1024) -> list[int]:
    return [dim]
