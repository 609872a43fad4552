"""Softmax over rows, as in attention and routers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"rows": 128, "dim": 197},
    "medium": {"rows": 1024, "dim": 1024},
    "large": {"rows": 8192, "dim": 1024},
}


class Model(torch.nn.Module):
    """Each row's exponentials over their sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(x, dim=-1)


def get_inputs(rows: int = 1024, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim)]


def get_init_inputs(rows: int = 1024, dim: int = 1024) -> list[int]:
    return []
