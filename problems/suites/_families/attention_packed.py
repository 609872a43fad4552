"""Attention over sequences of many lengths, packed one after another without padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Causal or not, sequences, tokens of all, heads, heads of k and v, columns of a head.
SIZES = {
    "small": [
        (True, 3, 37, 1, 1, 8),
        (False, 4, 40, 1, 1, 8),
        (True, 5, 23, 2, 1, 9),
        (False, 1, 19, 2, 2, 7),
        (True, 9, 29, 1, 1, 11),
        (True, 2, 10, 4, 2, 12),
    ],
    "large": [
        (True, 8, 8192, 32, 8, 128),
        (False, 16, 8192, 12, 12, 64),
        (True, 4, 4096, 28, 4, 128),
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
    """``bounds`` are the numbers of the tokens that sequences begin with, and of all tokens."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor
    ) -> torch.Tensor:
        token = torch.arange(q.shape[0])
        sequence = (token[:, None] >= bounds).sum(-1)
        hidden = sequence[:, None] != sequence
        if self.causal:
            hidden = hidden | (token > token[:, None])
        times = q.shape[1] // k.shape[1]
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        k, v = (x.repeat_interleave(times, dim=0) for x in (k, v))
        scores = torch.matmul(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(hidden, float("-inf"))
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        return torch.matmul(weights, v).transpose(0, 1).contiguous()


def get_inputs(
    shape: tuple[int, ...] = (True, 3, 200, 4, 2, 32), dtype: str = "float32"
) -> list[torch.Tensor]:
    _, sequences, tokens, heads, shared, columns = shape
    made = [
        torch.randn(tokens, n, columns).to(getattr(torch, dtype)) for n in (heads, shared, shared)
    ]
    inner = torch.randperm(tokens - 1)[: sequences - 1].sort().values + 1
    ends = torch.tensor([0]), inner, torch.tensor([tokens])
    return [*made, torch.cat(ends).to(torch.int32)]


def get_init_inputs(
    shape: tuple[int, ...] = (True, 3, 200, 4, 2, 32), dtype: str = "float32"
) -> list[bool]:
    return [bool(shape[0])]
