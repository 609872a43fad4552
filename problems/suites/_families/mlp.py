"""The feed-forward block of GPT-2 and BERT: two linear layers with GELU between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 12), (3, 17, 9), (5, 16, 24), (9, 10, 20), (2, 20, 17), (17, 6, 5)],
    "large": [(4096, 768, 3072), (2048, 1024, 4096)],
}
WORKLOADS = {
    f"{size}_{tokens}x{width}x{hidden}_{dtype}": {
        "tokens": tokens, "width": width, "hidden": hidden, "dtype": dtype
    }
    for size, shapes in SIZES.items()
    for tokens, width, hidden in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """``down(gelu(up(x)))``, both with biases."""

    def forward(
        self,
        x: torch.Tensor,
        up: torch.Tensor,
        up_bias: torch.Tensor,
        down: torch.Tensor,
        down_bias: torch.Tensor,
    ) -> torch.Tensor:
        return F.linear(F.gelu(F.linear(x, up, up_bias)), down, down_bias)


def get_inputs(
    tokens: int = 16, width: int = 24, hidden: int = 40, dtype: str = "float32"
) -> list[torch.Tensor]:
    shapes = [(tokens, width), (hidden, width), (hidden,), (width, hidden), (width,)]
    scaled = [torch.randn(*shape) / shape[-1] ** 0.25 for shape in shapes]
    return [each.to(getattr(torch, dtype)) for each in scaled]


def get_init_inputs(
    tokens: int = 16, width: int = 24, hidden: int = 40, dtype: str = "float32"
) -> list[int]:
    return []
