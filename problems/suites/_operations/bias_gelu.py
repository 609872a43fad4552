"""Bias and exact GELU, as behind the first product of an MLP in BERT and ViT."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"rows": 64, "dim": 768},
    "medium": {"rows": 256, "dim": 3072},
    "large": {"rows": 2048, "dim": 4096},
}


class Model(torch.nn.Module):
    """The activation of rows plus a bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.randn(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x + self.bias)


def get_inputs(rows: int = 256, dim: int = 3072) -> list[torch.Tensor]:
    return [torch.randn(rows, dim)]


def get_init_inputs(rows: int = 256, dim: int = 3072) -> list[int]:
    return [dim]
