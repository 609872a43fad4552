"""A language model's head and its loss: logits of a linear layer, then cross entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 9), (3, 17, 30), (5, 16, 40), (17, 10, 33), (9, 24, 20), (2, 3, 150)],
    "large": [(2048, 4096, 32000), (4096, 2048, 50257), (1024, 4096, 128256)],
}
WORKLOADS = {
    f"{size}_{tokens}x{width}x{classes}_{dtype}": {
        "tokens": tokens, "width": width, "classes": classes, "dtype": dtype
    }
    for size, shapes in SIZES.items()
    for tokens, width, classes in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """The mean over labels that are not -100, in float32."""

    def forward(
        self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        return F.cross_entropy(F.linear(hidden, weight).float(), labels)


def get_inputs(
    tokens: int = 16, width: int = 24, classes: int = 40, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind, labels = getattr(torch, dtype), torch.randint(classes, (tokens,))
    labels[1::4] = -100  # padding
    weight = torch.randn(classes, width) / width**0.5
    return [torch.randn(tokens, width).to(kind), weight.to(kind), labels]


def get_init_inputs(
    tokens: int = 16, width: int = 24, classes: int = 40, dtype: str = "float32"
) -> list[int]:
    return []
