"""Qwen3 as Hugging Face's transformers has it, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then, for one,
``kernelite optimize examples/hf_qwen3.py:prefill --target h200``.

The ``full`` builders have Qwen3 8B's width; where PyTorch finds no GPU they make shapes without
weights, which is enough for ``--target``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Qwen3Config
from transformers.cache_utils import DynamicCache

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
    "head_dim": 64,
}
FULL = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
    "head_dim": 128,
    "rope_theta": 1000000.0,
}
Built = tuple[nn.Module, tuple[Tensor, ...]]


class Prefill(nn.Module):
    """Logits of all tokens of a prompt."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


class Decode(nn.Module):
    """Logits of one more token, behind those whose keys and values are known.

    ``keys`` and ``values`` are ``(layers, batch, heads, tokens, head size)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        cache = DynamicCache(config=self.model.config)
        for layer, key, value in zip(cache.layers, keys, values, strict=True):
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = key, value
        logits: Tensor = self.model(input_ids=ids, past_key_values=cache).logits
        return logits


def _model(sizes: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForCausalLM.from_config(Qwen3Config(**sizes), dtype=dtype)
    return model.eval()


def prefill(
    dtype: torch.dtype = torch.bfloat16, batch: int = 1, tokens: int = 128,
    sizes: Mapping[str, Any] = SMALL,
) -> Built:  # fmt: skip
    """The model, and a batch of prompts."""
    model = Prefill(_model(sizes, dtype)).eval()
    return model, (torch.randint(sizes["vocab_size"], (batch, tokens)),)


def decode(
    dtype: torch.dtype = torch.bfloat16, batch: int = 2, tokens: int = 128,
    sizes: Mapping[str, Any] = SMALL,
) -> Built:  # fmt: skip
    """The model, one token for each of a batch, and what the tokens before left."""
    model = Decode(_model(sizes, dtype)).eval()
    heads, size = sizes["num_key_value_heads"], sizes["head_dim"]
    look = (sizes["num_hidden_layers"], batch, heads, tokens, size)
    keys, values = (torch.randn(look, dtype=dtype) for _ in range(2))
    return model, (torch.randint(sizes["vocab_size"], (batch, 1)), keys, values)


def full() -> Built:
    """A prompt of 2,048 tokens."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return prefill(tokens=2048, sizes=FULL)


def full_decode() -> Built:
    """One token for each of eight sequences of 4,096."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return decode(batch=8, tokens=4096, sizes=FULL)


build = prefill
