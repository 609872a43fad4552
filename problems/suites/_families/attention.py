"""Eager attention as in Llama: causal or not, grouped heads, a window, padding, one new token."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Kind, batch, heads, heads of k and v, queries, keys, columns of a head.
SIZES = {
    "small": [
        ("full", 1, 2, 2, 9, 19, 10),
        ("causal", 1, 1, 1, 37, 37, 8),
        ("causal", 1, 2, 1, 19, 19, 11),
        ("window", 1, 2, 1, 21, 21, 8),
        ("padded", 2, 1, 1, 17, 17, 9),
        ("full", 1, 4, 1, 1, 70, 7),
    ],
    "large": [
        ("causal", 2, 32, 32, 1024, 1024, 64),
        ("causal", 2, 32, 32, 2048, 2048, 64),
        ("causal", 1, 32, 32, 4096, 4096, 64),
        ("causal", 2, 32, 32, 1024, 1024, 128),
        ("causal", 1, 32, 32, 2048, 2048, 128),
        ("causal", 1, 32, 8, 4096, 4096, 128),
        ("window", 1, 16, 8, 4096, 4096, 256),
        ("full", 16, 12, 12, 512, 512, 64),
        ("full", 8, 24, 24, 1024, 77, 96),
        ("padded", 8, 16, 16, 512, 512, 80),
        ("full", 16, 32, 8, 1, 8192, 128),
        ("full", 1, 32, 32, 1, 32768, 128),
    ],
}
WORKLOADS = {
    f"{size}_{kind}_{'x'.join(map(str, shape))}_{dtype}":
        {"kind": kind, "shape": tuple(shape), "dtype": dtype}
    for size, shapes in SIZES.items()
    for kind, *shape in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


class Model(torch.nn.Module):
    """A ``window`` is a quarter of the keys; a ``padded`` batch says which keys are tokens."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *tokens: torch.Tensor
    ) -> torch.Tensor:
        times = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(times, dim=1) for x in (k, v))
        scores = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
        if tokens:
            mask = (1 - tokens[0].to(q.dtype)) * torch.finfo(q.dtype).min
            scores = scores + mask[:, None, None, :]
        if self.kind in ("causal", "window"):
            query, key = torch.arange(q.shape[2])[:, None], torch.arange(k.shape[2])
            first = query - (k.shape[2] // 4 if self.kind == "window" else k.shape[2])
            scores = scores.masked_fill((key > query) | (key <= first), float("-inf"))
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        return torch.matmul(weights, v)


def get_inputs(
    kind: str = "causal",
    shape: tuple[int, ...] = (2, 8, 2, 128, 128, 64),
    dtype: str = "float32",
) -> list[torch.Tensor]:
    batch, heads, shared, queries, keys, columns = shape
    sizes = [(heads, queries), (shared, keys), (shared, keys)]
    inputs = [torch.randn(batch, *size, columns).to(getattr(torch, dtype)) for size in sizes]
    if kind == "padded":
        lengths = torch.randint(1, keys + 1, (batch, 1))
        inputs.append(torch.arange(keys) < lengths)
    return inputs


def get_init_inputs(
    kind: str = "causal",
    shape: tuple[int, ...] = (2, 8, 2, 128, 128, 64),
    dtype: str = "float32",
) -> list[str]:
    return [kind]
