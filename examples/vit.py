"""The first blocks of a vision transformer: patches, LayerNorm, eager attention, GELU, layer scale.

``kernelite optimize examples/vit.py:build``
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE, PATCH, DIM, HEADS, BLOCKS, BATCH = 224, 16, 384, 6, 4, 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.output = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, HEADS, DIM // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.matmul(q, k.transpose(-2, -1)) * (DIM // HEADS) ** -0.5
        context = torch.matmul(F.softmax(scores, dim=-1), v)
        return self.output(context.transpose(1, 2).reshape(batch, tokens, DIM))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(DIM, 4 * DIM)
        self.narrow = nn.Linear(4 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.wide(x)))


class LayerScale(nn.Module):
    """A learned factor per feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((DIM,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(DIM)
        self.attention = Attention()
        self.attention_scale = LayerScale()
        self.mlp_norm = nn.LayerNorm(DIM)
        self.mlp = MLP()
        self.mlp_scale = LayerScale()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_scale(self.attention(self.attention_norm(x)))
        return x + self.mlp_scale(self.mlp(self.mlp_norm(x)))


class ViT(nn.Module):
    """Features of the class token, shape ``(batch, DIM)``."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + (IMAGE // PATCH) ** 2, DIM) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(DIM)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        return self.norm(self.blocks(x + self.positions))[:, 0]


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with seeded weights, and a batch of images."""
    torch.manual_seed(0)
    return ViT().eval(), (torch.randn(BATCH, 3, IMAGE, IMAGE),)
