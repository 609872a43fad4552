"""Gradients of attention for q, k and v, from the gradient of its output."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Causal or not, batch, heads, queries, keys, columns of a head.
SIZES = {
    "small": [
        (True, 1, 1, 25, 25, 9),
        (False, 1, 2, 9, 19, 9),
        (True, 1, 2, 17, 17, 7),
        (False, 2, 1, 5, 21, 8),
        (True, 1, 1, 11, 11, 20),
        (False, 1, 1, 33, 3, 12),
    ],
    "large": [
        (True, 2, 32, 1024, 1024, 64),
        (True, 1, 32, 4096, 4096, 128),
        (False, 16, 12, 512, 512, 64),
    ],
}
WORKLOADS = {
    f"{size}_{'causal' if shape[0] else 'full'}_{'x'.join(map(str, shape[1:]))}_{dtype}":
        {"shape": shape, "dtype": dtype}
    for size, shapes in SIZES.items()
    for shape in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """The weights once more, and what follows from them."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scale = q.shape[-1] ** -0.5
        scores = torch.matmul(q, k.transpose(-2, -1)) * scale
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        weights = F.softmax(scores, dim=-1, dtype=torch.float32)
        slopes = torch.matmul(grad, v.transpose(-2, -1)).float()
        slopes = weights * (slopes - (weights * slopes).sum(-1, keepdim=True))
        weights, slopes = weights.to(q.dtype), slopes.to(q.dtype)
        into_q = torch.matmul(slopes, k) * scale
        into_k = torch.matmul(slopes.transpose(-2, -1), q) * scale
        return into_q, into_k, torch.matmul(weights.transpose(-2, -1), grad)


def get_inputs(
    shape: tuple[int, ...] = (True, 2, 4, 64, 64, 32), dtype: str = "float32"
) -> list[torch.Tensor]:
    _, batch, heads, queries, keys, columns = shape
    rows = (queries, keys, keys, queries)
    return [torch.randn(batch, heads, n, columns).to(getattr(torch, dtype)) for n in rows]


def get_init_inputs(
    shape: tuple[int, ...] = (True, 2, 4, 64, 64, 32), dtype: str = "float32"
) -> list[bool]:
    return [bool(shape[0])]
