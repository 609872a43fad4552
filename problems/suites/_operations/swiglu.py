"""The gate of a SwiGLU MLP: SiLU of one product times another."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"rows": 32, "dim": 1024},
    "medium": {"rows": 512, "dim": 1376},
    "large": {"rows": 2048, "dim": 2816},
}


class Model(torch.nn.Module):
    """SiLU of the gate, times the other stream."""

    def forward(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up


def get_inputs(rows: int = 512, dim: int = 1376) -> list[torch.Tensor]:
    return [torch.randn(rows, dim), torch.randn(rows, dim)]


def get_init_inputs(rows: int = 512, dim: int = 1376) -> list[int]:
    return []
