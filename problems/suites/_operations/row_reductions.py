"""Three statistics of each row: sum, sum of squares, largest."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 64, "dim": 512},
    "medium": {"rows": 512, "dim": 1024},
    "large": {"rows": 2048, "dim": 4096},
}


class Model(torch.nn.Module):
    """Each row's sum, sum of squares and maximum."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return x.sum(-1), (x * x).sum(-1), x.amax(-1)


def get_inputs(rows: int = 512, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim)]


def get_init_inputs(rows: int = 512, dim: int = 1024) -> list[int]:
    return []
