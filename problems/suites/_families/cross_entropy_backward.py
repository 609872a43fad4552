"""The gradient of a mean cross entropy for its logits, as autograd has it."""

from __future__ import annotations

import torch

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (16, 100), (33, 120), (2, 1030)],
    "large": [(1024, 4096), (4096, 32000), (4096, 50257)],
}
WORKLOADS = {
    f"{size}_{rows}x{classes}_{dtype}": {"rows": rows, "classes": classes, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, classes in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """``d loss / d logits`` for the loss in float32 and its gradient."""

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, grad: torch.Tensor
    ) -> torch.Tensor:
        aten, kept = torch.ops.aten, (None, 1, -100)
        normal = torch.log_softmax(logits.float(), dim=-1)
        _, count = aten.nll_loss_forward(normal, labels, *kept)
        chosen = aten.nll_loss_backward(grad, normal, labels, *kept, count)
        found = aten._log_softmax_backward_data(chosen, normal, -1, torch.float32)
        into: torch.Tensor = found.to(logits.dtype)
        return into


def get_inputs(rows: int = 64, classes: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    labels = torch.randint(classes, (rows,))
    labels[1::4] = -100  # padding
    return [3 * torch.randn(rows, classes).to(getattr(torch, dtype)), labels, torch.rand(()) + 0.5]


def get_init_inputs(rows: int = 64, classes: int = 128, dtype: str = "float32") -> list[int]:
    return []
