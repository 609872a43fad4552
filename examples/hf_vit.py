"""A vision transformer as transformers has it, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then, for one,
``kernelite optimize examples/hf_vit.py:build --target h200``.

The ``full`` builders have ViT-L/16's width; where PyTorch finds no GPU they make shapes without
weights, which is enough for ``--target``.
An encoder has no decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 128,
}
FULL = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
}
Built = tuple[nn.Module, tuple[Tensor, ...]]


class Logits(nn.Module):
    """Logits of the classes of images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


def build(
    dtype: torch.dtype = torch.bfloat16, batch: int = 2,
    sizes: Mapping[str, Any] = SMALL,
) -> Built:  # fmt: skip
    """The model, and a batch of images."""
    torch.manual_seed(0)
    config = ViTConfig(**sizes)
    model = Logits(ViTForImageClassification(config).to(dtype).eval())
    return model.eval(), (torch.randn(batch, 3, config.image_size, config.image_size, dtype=dtype),)


def full() -> Built:
    """64 images."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return build(batch=64, sizes=FULL)
