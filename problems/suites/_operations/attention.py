"""Attention spelled out, as encoders with eager attention have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"batch": 1, "heads": 2, "tokens": 64, "dim": 64},
    "medium": {"batch": 2, "heads": 8, "tokens": 197, "dim": 64},
    "large": {"batch": 2, "heads": 16, "tokens": 512, "dim": 64},
}


class Model(torch.nn.Module):
    """Softmax of scaled scores, times the values; every token sees every token."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = torch.matmul(q, k.transpose(-2, -1)) / q.shape[-1] ** 0.5
        return torch.matmul(F.softmax(scores, dim=-1), v)


def get_inputs(
    batch: int = 2, heads: int = 8, tokens: int = 197, dim: int = 64
) -> list[torch.Tensor]:
    return [torch.randn(batch, heads, tokens, dim) for _ in range(3)]


def get_init_inputs(batch: int = 2, heads: int = 8, tokens: int = 197, dim: int = 64) -> list[int]:
    return []
