"""Cross entropy of logits and class numbers as in language models: the mean over kept labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = {
    "small": [(1, 8), (3, 17), (5, 64), (16, 100), (33, 120), (2, 1030)],
    "large": [(1024, 4096), (4096, 32000), (8192, 50257), (4096, 128256), (16, 128256)],
}
WORKLOADS = {
    f"{size}_{rows}x{classes}_{dtype}": {"rows": rows, "classes": classes, "dtype": dtype}
    for size, shapes in SIZES.items()
    for rows, classes in shapes
    for dtype in ("float32", "float16", "bfloat16")
}


class Model(torch.nn.Module):
    """The loss in float32, whatever the logits are in."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.float(), labels)


def get_inputs(rows: int = 64, classes: int = 128, dtype: str = "float32") -> list[torch.Tensor]:
    labels = torch.randint(classes, (rows,))
    labels[1::4] = -100  # padding
    return [3 * torch.randn(rows, classes).to(getattr(torch, dtype)), labels]


def get_init_inputs(rows: int = 64, classes: int = 128, dtype: str = "float32") -> list[int]:
    return []
