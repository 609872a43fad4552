"""Gradient of the rotary embedding whose pairs are neighbours."""

from __future__ import annotations

import torch

SIZES = {
    "small": [
        (1, 1, 1, 8),
        (1, 2, 5, 16),
        (2, 3, 3, 14),
        (1, 4, 7, 8),
        (1, 3, 11, 10),
        (2, 2, 3, 32),
    ],
    "large": [(2, 32, 1024, 128), (1, 40, 2048, 128)],
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


class Model(torch.nn.Module):
    """``d loss / d x`` for x of shape (batch, heads, length, width): turned back."""

    def forward(self, grad: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        even, odd = grad[..., ::2], grad[..., 1::2]
        turned = (even * cos + odd * sin, odd * cos - even * sin)
        return torch.stack(turned, -1).flatten(-2)


def get_inputs(
    batch: int = 2, heads: int = 4, length: int = 16, width: int = 32, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [
        (batch, heads, length, width),
        (length, width // 2),
        (length, width // 2),
    ]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    batch: int = 2, heads: int = 4, length: int = 16, width: int = 32, dtype: str = "float32"
) -> list[int]:
    return []
