"""The gated feed-forward block of Llama and Qwen (SwiGLU)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 12), (3, 17, 9), (5, 16, 24), (9, 10, 20), (2, 20, 17), (17, 6, 5)],
    "large": [
        (1024, 1024, 2048),
        (2048, 2048, 5504),
        (4096, 4096, 11008),
        (2048, 5120, 13824),
        (16, 4096, 14336),
    ],
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
    """``down(silu(gate(x)) * up(x))``."""

    def forward(
        self, x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor
    ) -> torch.Tensor:
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def get_inputs(
    tokens: int = 16, width: int = 24, hidden: int = 40, dtype: str = "float32"
) -> list[torch.Tensor]:
    shapes = [(tokens, width), (hidden, width), (hidden, width), (width, hidden)]
    scaled = [torch.randn(*shape) / shape[-1] ** 0.25 for shape in shapes]
    return [each.to(getattr(torch, dtype)) for each in scaled]


def get_init_inputs(
    tokens: int = 16, width: int = 24, hidden: int = 40, dtype: str = "float32"
) -> list[int]:
    return []
