"""GPT-2 as Hugging Face's transformers has it, small, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then
``kernelite optimize examples/hf_gpt2.py:build``
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

BATCH, TOKENS = 2, 256


class Logits(nn.Module):
    """The model's logits alone; its own output is a record with a cache in it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with seeded weights, and a batch of token ids."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=4096,
        n_positions=TOKENS,
        n_embd=384,
        n_layer=4,
        n_head=6,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = "eager"
    model = Logits(GPT2LMHeadModel(config)).eval()
    return model, (torch.randint(config.vocab_size, (BATCH, TOKENS)),)
