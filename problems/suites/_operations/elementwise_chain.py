"""Scale, shift, hard-swish and a residual: a chain as vision models have it."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"rows": 64, "dim": 256},
    "medium": {"rows": 1024, "dim": 512},
    "large": {"rows": 8192, "dim": 768},
}


class Model(torch.nn.Module):
    """The hard-swish of a scaled and shifted stream, plus a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(1 + 0.1 * torch.randn(dim))
        self.shift = torch.nn.Parameter(0.1 * torch.randn(dim))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        y = x * self.scale + self.shift
        return residual + y * torch.clamp(y / 6 + 0.5, 0, 1)


def get_inputs(rows: int = 1024, dim: int = 512) -> list[torch.Tensor]:
    return [torch.randn(rows, dim), torch.randn(rows, dim)]


def get_init_inputs(rows: int = 1024, dim: int = 512) -> list[int]:
    return [dim]
