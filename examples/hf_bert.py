"""BERT as Hugging Face's transformers has it, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then, for one,
``kernelite optimize examples/hf_bert.py:build --target h200``.

The ``full`` builders have BERT large's width; where PyTorch finds no GPU they make shapes without
weights, which is enough for ``--target``.
An encoder has no decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 2048,
}
FULL = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "vocab_size": 30522,
}
Built = tuple[nn.Module, tuple[Tensor, ...]]


class Logits(nn.Module):
    """Logits of all tokens of a text."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids).logits
        return logits


def build(
    dtype: torch.dtype = torch.bfloat16, batch: int = 2, tokens: int = 128,
    sizes: Mapping[str, Any] = SMALL,
) -> Built:  # fmt: skip
    """The model, and a batch of texts."""
    torch.manual_seed(0)
    config = BertConfig(**sizes)
    model = Logits(BertForMaskedLM(config).to(dtype).eval())
    return model.eval(), (torch.randint(config.vocab_size, (batch, tokens)),)


def full() -> Built:
    """32 texts of 512 tokens."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return build(batch=32, tokens=512, sizes=FULL)
