"""Root-mean-square normalisation of rows, as Llama's code writes it."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 64, "dim": 512},
    "medium": {"rows": 512, "dim": 1024},
    "large": {"rows": 2048, "dim": 4096},
}


class Model(torch.nn.Module):
    """Rows over their root mean square, times a weight."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(1 + 0.1 * torch.randn(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(mean_square + 1e-6))


def get_inputs(rows: int = 512, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim)]


def get_init_inputs(rows: int = 512, dim: int = 1024) -> list[int]:
    return [dim]
