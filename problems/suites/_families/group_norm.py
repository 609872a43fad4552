"""GroupNorm of images with weight and bias, as in diffusion models."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 2, 1, 1), (2, 6, 3, 3), (1, 8, 5, 4), (2, 12, 4, 2), (3, 4, 7, 2), (1, 10, 9, 5)],
    "large": [(8, 320, 64, 32), (16, 512, 32, 32), (2, 1280, 32, 32), (1, 128, 512, 32)],
}
WORKLOADS = {
    f"{size}_{batch}x{channels}x{height}x{groups}_{dtype}": {
        "batch": batch,
        "channels": channels,
        "height": height,
        "groups": groups,
        "dtype": dtype,
    }
    for size, shapes in SIZES.items()
    for batch, channels, height, groups in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """x of shape (batch, channels, height, height), normalised in groups of channels."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.group_norm(x, self.groups, weight, bias, 1e-5)


def get_inputs(
    batch: int = 2, channels: int = 32, height: int = 8, groups: int = 4, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(batch, channels, height, height), (channels,), (channels,)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    batch: int = 2, channels: int = 32, height: int = 8, groups: int = 4, dtype: str = "float32"
) -> list[int]:
    return [groups]
