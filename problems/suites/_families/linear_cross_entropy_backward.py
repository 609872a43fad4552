"""Gradients of a language model's loss for its last hidden states and its head's weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8, 9), (3, 17, 30), (5, 16, 40), (17, 10, 33), (9, 24, 20), (2, 3, 150)],
    "large": [(2048, 4096, 32000), (1024, 2048, 50257)],
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
    """``d loss / d hidden`` and ``d loss / d weight`` for the mean loss in float32."""

    def forward(
        self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        aten, kept = torch.ops.aten, (None, 1, -100)
        normal = torch.log_softmax(F.linear(hidden, weight).float(), dim=-1)
        _, count = aten.nll_loss_forward(normal, labels, *kept)
        chosen = aten.nll_loss_backward(grad, normal, labels, *kept, count)
        into = aten._log_softmax_backward_data(chosen, normal, -1, torch.float32).to(hidden.dtype)
        return into @ weight, into.t() @ hidden


def get_inputs(
    tokens: int = 16, width: int = 24, classes: int = 40, dtype: str = "float32"
) -> list[torch.Tensor]:
    kind, labels = getattr(torch, dtype), torch.randint(classes, (tokens,))
    labels[1::4] = -100  # padding
    weight = torch.randn(classes, width) / width**0.5
    return [torch.randn(tokens, width).to(kind), weight.to(kind), labels, torch.rand(()) + 0.5]


def get_init_inputs(
    tokens: int = 16, width: int = 24, classes: int = 40, dtype: str = "float32"
) -> list[int]:
    return []
