"""Rotary position embedding of queries and keys, as Llama's code writes it."""

from __future__ import annotations

import torch

WORKLOADS = {
    "small": {"batch": 1, "heads": 4, "kv_heads": 2, "tokens": 32, "dim": 64},
    "medium": {"batch": 2, "heads": 8, "kv_heads": 2, "tokens": 512, "dim": 64},
    "large": {"batch": 2, "heads": 16, "kv_heads": 4, "tokens": 2048, "dim": 64},
}


class Model(torch.nn.Module):
    """Pairs of features turned by an angle that grows with the position."""

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    low, high = x.chunk(2, dim=-1)
    return torch.cat((-high, low), dim=-1)


def get_inputs(
    batch: int = 2, heads: int = 8, kv_heads: int = 2, tokens: int = 512, dim: int = 64
) -> list[torch.Tensor]:
    q = torch.randn(batch, heads, tokens, dim)
    k = torch.randn(batch, kv_heads, tokens, dim)
    frequencies = 10_000.0 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.outer(torch.arange(tokens).float(), frequencies).repeat(1, 2)
    return [q, k, angles.cos(), angles.sin()]


def get_init_inputs(
    batch: int = 2, heads: int = 8, kv_heads: int = 2, tokens: int = 512, dim: int = 64
) -> list[int]:
    return []
