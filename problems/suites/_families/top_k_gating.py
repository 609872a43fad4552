"""The router of Mixtral and Qwen3-MoE: the experts with the largest share, and their weights.

Those models take ``torch.topk`` of a softmax and divide by the sum of what it
chose, which is the softmax of the chosen logits.  Which of equal experts goes
first ``topk`` leaves open, and rounding makes equals; the numbers of experts can
be compared only if that is settled, so here a stable sort chooses by the logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Tokens, experts, how many of them are chosen.
SIZES = {
    "small": [(33, 8, 2), (1, 8, 1), (7, 60, 4), (9, 64, 6), (7, 128, 8), (3, 256, 4)],
    "large": [(4096, 8, 2), (16384, 64, 6), (8192, 128, 8), (32768, 256, 8), (64, 128, 8)],
}
WORKLOADS = {
    f"{size}_{tokens}x{experts}x{k}_{dtype}":
        {"tokens": tokens, "experts": experts, "k": k, "dtype": dtype}
    for size, shapes in SIZES.items()
    for tokens, experts, k in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """Weights that sum to one, as the logits, and the experts' numbers."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ordered, experts = torch.sort(logits, dim=-1, descending=True, stable=True)
        weights = F.softmax(ordered[:, : self.k], dim=-1, dtype=torch.float32)
        return weights.to(logits.dtype), experts[:, : self.k].contiguous()


def get_inputs(
    tokens: int = 64, experts: int = 8, k: int = 2, dtype: str = "float32"
) -> list[torch.Tensor]:
    return [torch.randn(tokens, experts).to(getattr(torch, dtype))]


def get_init_inputs(
    tokens: int = 64, experts: int = 8, k: int = 2, dtype: str = "float32"
) -> list[int]:
    return [k]
