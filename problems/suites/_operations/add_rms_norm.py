"""A residual addition and the RMS normalisation behind it; both results are used."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 64, "dim": 512},
    "medium": {"rows": 512, "dim": 1024},
    "large": {"rows": 2048, "dim": 4096},
}


class Model(torch.nn.Module):
    """The sum of two streams, normalised and as it is."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(1 + 0.1 * torch.randn(dim))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        residual = residual + x
        mean_square = residual.pow(2).mean(-1, keepdim=True)
        return self.weight * (residual * torch.rsqrt(mean_square + 1e-6)), residual


def get_inputs(rows: int = 512, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim), torch.randn(rows, dim)]


def get_init_inputs(rows: int = 512, dim: int = 1024) -> list[int]:
    return [dim]
