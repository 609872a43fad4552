"""Rotary embedding of queries and keys as in Llama: the halves of a head are pairs."""

from __future__ import annotations

import torch

SIZES = {
    "small": [
        (1, 1, 1, 8),
        (1, 2, 5, 16),
        (2, 3, 3, 14),
        (1, 4, 7, 8),
        (1, 2, 11, 10),
        (2, 1, 3, 32),
    ],
    "large": [(2, 32, 1024, 128), (2, 32, 2048, 128), (1, 40, 2048, 128), (4, 16, 4096, 64)],
}
WORKLOADS = {
    f"{size}_{batch}x{heads}x{length}x{width}_{dtype}": {
        "batch": batch,
        "heads": heads,
        "length": length,
        "width": width,
        "dtype": dtype,
    }
    for size, shapes in SIZES.items()
    for batch, heads, length, width in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


def rotated(x: torch.Tensor) -> torch.Tensor:
    """The second half, negative, before the first."""
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-second, first), -1)


class Model(torch.nn.Module):
    """Queries and keys of shape (batch, heads, length, width), turned by their positions."""

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return q * cos + rotated(q) * sin, k * cos + rotated(k) * sin


def get_inputs(
    batch: int = 2, heads: int = 4, length: int = 16, width: int = 32, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [
        (batch, heads, length, width),
        (batch, heads, length, width),
        (batch, length, width),
        (batch, length, width),
    ]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    batch: int = 2, heads: int = 4, length: int = 16, width: int = 32, dtype: str = "float32"
) -> list[int]:
    return []
