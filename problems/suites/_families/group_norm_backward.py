"""Gradients of GroupNorm for its input, weight and bias, from the gradient of its output."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 2, 1, 1), (2, 6, 3, 3), (1, 8, 5, 4), (2, 12, 4, 2), (3, 4, 5, 2), (1, 10, 7, 5)],
    "large": [(8, 320, 64, 32), (16, 512, 32, 32)],
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
    """``d loss / d x``, ``d loss / d weight`` and ``d loss / d bias``."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        grouped = (x.shape[0], self.groups, x.shape[1] // self.groups, -1)
        hidden, above = x.float().reshape(grouped), grad.float().reshape(grouped)
        slope = above * weight.float().reshape(1, self.groups, -1, 1)
        centred = hidden - hidden.mean((2, 3), keepdim=True)
        scale = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + 1e-5)
        normal = centred * scale
        along = (slope * normal).mean((2, 3), keepdim=True)
        into_x = scale * (slope - slope.mean((2, 3), keepdim=True) - normal * along)
        into_weight = (above * normal).sum((0, 3)).flatten()
        into_bias = above.sum((0, 3)).flatten()
        kind = x.dtype
        return into_x.reshape(x.shape).to(kind), into_weight.to(kind), into_bias.to(kind)


def get_inputs(
    batch: int = 2, channels: int = 32, height: int = 8, groups: int = 4, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [
        (batch, channels, height, height),
        (channels,),
        (batch, channels, height, height),
    ]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    batch: int = 2, channels: int = 32, height: int = 8, groups: int = 4, dtype: str = "float32"
) -> list[int]:
    return [groups]
