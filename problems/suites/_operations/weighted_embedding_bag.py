"""Weighted bags of embeddings in plain torch, as click models have them."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 500, "dim": 64, "batch": 32, "bag": 8},
    "medium": {"rows": 20_000, "dim": 64, "batch": 512, "bag": 20},
    "large": {"rows": 100_000, "dim": 64, "batch": 2048, "bag": 32},
}


class Model(torch.nn.Module):
    """The weighted sum of each bag's rows of a table."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(rows, dim) / dim**0.5)

    def forward(self, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (self.table[indices] * weights.unsqueeze(-1)).sum(1)


def get_inputs(
    rows: int = 20_000, dim: int = 64, batch: int = 512, bag: int = 20
) -> list[torch.Tensor]:
    return [torch.randint(rows, (batch, bag)), torch.rand(batch, bag)]


def get_init_inputs(
    rows: int = 20_000, dim: int = 64, batch: int = 512, bag: int = 20
) -> list[int]:
    return [rows, dim]
