"""A gated residual: x plus the sigmoid of a gate times y."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 32, "dim": 512},
    "medium": {"rows": 512, "dim": 1024},
    "large": {"rows": 2048, "dim": 2048},
}


class Model(torch.nn.Module):
    """A stream plus a gated one."""

    def forward(self, x: torch.Tensor, gate: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + torch.sigmoid(gate) * y


def get_inputs(rows: int = 512, dim: int = 1024) -> list[torch.Tensor]:
    return [torch.randn(rows, dim) for _ in range(3)]


def get_init_inputs(rows: int = 512, dim: int = 1024) -> list[int]:
    return []
