"""Mamba as Hugging Face's transformers has it, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then, for one,
``kernelite optimize examples/hf_mamba.py:prefill --target h200``.

The ``full`` builders have Mamba 2.8B's width; where PyTorch finds no GPU they make shapes without
weights, which is enough for ``--target``.
Without its own CUDA kernels transformers goes token by token, so prompts are short here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MambaConfig
from transformers.cache_utils import DynamicCache

SMALL = {"hidden_size": 256, "num_hidden_layers": 2, "state_size": 16, "vocab_size": 2048}
FULL = {"hidden_size": 2560, "num_hidden_layers": 64, "state_size": 16, "vocab_size": 50280}
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
    """Logits of one more token, from the states that those before it left.

    ``windows`` are ``(layers, batch, channels, kernel size)``, ``states`` ``(layers, batch,
    channels, state size)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, windows: Tensor, states: Tensor) -> Tensor:
        cache = DynamicCache(config=self.model.config)
        for layer, window, state in zip(cache.layers, windows, states, strict=True):
            layer.lazy_initialization(window, state)
            layer.conv_states[0], layer.recurrent_states[0] = window.clone(), state.clone()
            layer.has_previous_state[0] = True
        logits: Tensor = self.model(input_ids=ids, cache_params=cache).logits
        return logits


def _model(sizes: Mapping[str, Any], dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForCausalLM.from_config(MambaConfig(**sizes), dtype=dtype)
    return model.eval()


def prefill(
    dtype: torch.dtype = torch.bfloat16, batch: int = 1, tokens: int = 16,
    sizes: Mapping[str, Any] = SMALL,
) -> Built:  # fmt: skip
    """The model, and a batch of prompts."""
    model = Prefill(_model(sizes, dtype)).eval()
    return model, (torch.randint(sizes["vocab_size"], (batch, tokens)),)


def decode(
    dtype: torch.dtype = torch.bfloat16, batch: int = 2, sizes: Mapping[str, Any] = SMALL
) -> Built:
    """The model, one token for each of a batch, and what the tokens before left."""
    model = _model(sizes, dtype)
    look = (sizes["num_hidden_layers"], batch, model.config.intermediate_size)
    windows = torch.randn(*look, model.config.conv_kernel, dtype=dtype)
    states = torch.randn(*look, sizes["state_size"], dtype=torch.float32)
    return Decode(model).eval(), (torch.randint(sizes["vocab_size"], (batch, 1)), windows, states)


def full() -> Built:
    """A prompt of 32 tokens."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return prefill(tokens=32, sizes=FULL)


def full_decode() -> Built:
    """One token for each of eight sequences, however long they are."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return decode(batch=8, sizes=FULL)


build = prefill
