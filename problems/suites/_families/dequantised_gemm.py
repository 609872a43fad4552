"""A linear layer with weights of four bits, two to a byte, with scales and zeros by group."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 64), (3, 17, 32), (5, 24, 32), (16, 9, 64), (17, 5, 96), (2, 7, 128)],
    "large": [(1, 4096, 4096), (16, 14336, 4096), (8, 4096, 14336), (512, 4096, 4096)],
}
WORKLOADS = {
    f"{size}_{m}x{n}x{k}_{dtype}": {"m": m, "n": n, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for m, n, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``x @ ((codes - zero) * scale).T``, codes of a group of 32 or 128 weights."""

    def forward(
        self, x: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor
    ) -> torch.Tensor:
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).view(packed.shape[0], -1)
        grouped = codes.to(x.dtype).view(*scale.shape, -1)
        weight = (grouped - zero[..., None]) * scale[..., None]
        return F.linear(x, weight.view(codes.shape))


def get_inputs(m: int = 8, n: int = 16, k: int = 64, dtype: str = "float32") -> list[torch.Tensor]:
    kind, groups = getattr(torch, dtype), k // (128 if k >= 1024 else 32)
    packed = torch.randint(256, (n, k // 2), dtype=torch.uint8)
    scale, zero = torch.rand(n, groups) / 8 + 0.01, torch.randint(16, (n, groups))
    return [torch.randn(m, k).to(kind), packed, scale.to(kind), zero.to(kind)]


def get_init_inputs(m: int = 8, n: int = 16, k: int = 64, dtype: str = "float32") -> list[int]:
    return []
