"""Whisper as Hugging Face's transformers has it, with random weights; downloads nothing.

Needs the extra: ``pip install -e '.[hf]' -c constraints/cpu.txt``, then, for one,
``kernelite optimize examples/hf_whisper.py:prefill --target h200``.

The ``full`` builders have Whisper large-v3's width; where PyTorch finds no GPU they make shapes
without weights, which is enough for ``--target``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

SMALL = {
    "d_model": 256,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 1024,
    "decoder_ffn_dim": 1024,
    "num_mel_bins": 80,
    "max_source_positions": 128,
    "vocab_size": 2048,
}
FULL = {
    "d_model": 1280,
    "encoder_layers": 32,
    "decoder_layers": 32,
    "encoder_attention_heads": 20,
    "decoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "decoder_ffn_dim": 5120,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
    "vocab_size": 51866,
}
SPECIAL = dict.fromkeys(("pad", "bos", "eos", "decoder_start"), 0)
Built = tuple[nn.Module, tuple[Tensor, ...]]


class Prefill(nn.Module):
    """Logits of the first tokens of a transcript, sound encoded on the way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sound: Tensor, ids: Tensor) -> Tensor:
        found = self.model(input_features=sound, decoder_input_ids=ids, use_cache=False)
        logits: Tensor = found.logits
        return logits


class Decode(nn.Module):
    """Logits of one more token; keys and values of text and sound are known.

    All four are ``(layers, batch, heads, tokens or frames, head size)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sound: Tensor, ids: Tensor, *known: Tensor) -> Tensor:
        text, heard = (DynamicCache(config=self.model.config) for _ in range(2))
        for cache, keys, values in ((text, *known[:2]), (heard, *known[2:])):
            for layer, key, value in zip(cache.layers, keys, values, strict=True):
                layer.lazy_initialization(key, value)
                layer.keys, layer.values = key, value
        cache = EncoderDecoderCache(text, heard)
        found = self.model(encoder_outputs=(sound,), decoder_input_ids=ids, past_key_values=cache)
        logits: Tensor = found.logits
        return logits


def _model(sizes: Mapping[str, Any], dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    special = {f"{name}_token_id": number for name, number in SPECIAL.items()}
    return WhisperForConditionalGeneration(WhisperConfig(**sizes, **special)).to(dtype).eval()


def prefill(
    dtype: torch.dtype = torch.bfloat16, batch: int = 1, sizes: Mapping[str, Any] = SMALL
) -> Built:
    """The model, sound, and the four tokens that every transcript begins with."""
    model = Prefill(_model(sizes, dtype)).eval()
    frames = 2 * sizes["max_source_positions"]
    sound = torch.randn(batch, sizes["num_mel_bins"], frames, dtype=dtype)
    return model, (sound, torch.randint(sizes["vocab_size"], (batch, 4)))


def decode(
    dtype: torch.dtype = torch.bfloat16, batch: int = 2, sizes: Mapping[str, Any] = SMALL
) -> Built:
    """The model, encoded sound, one token, and keys and values of 64 tokens and of the sound."""
    model = Decode(_model(sizes, dtype)).eval()
    frames, heads = sizes["max_source_positions"], sizes["decoder_attention_heads"]
    looks = [(sizes["decoder_layers"], batch, heads, length, sizes["d_model"] // heads)
             for length in (64, 64, frames, frames)]  # fmt: skip
    known = [torch.randn(look, dtype=dtype) for look in looks]
    sound = torch.randn(batch, frames, sizes["d_model"], dtype=dtype)
    return model, (sound, torch.randint(sizes["vocab_size"], (batch, 1)), *known)


def full() -> Built:
    """Thirty seconds of sound."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return prefill(sizes=FULL)


def full_decode() -> Built:
    """One token for each of eight recordings."""
    with torch.device("cuda" if torch.cuda.is_available() else "meta"):
        return decode(batch=8, sizes=FULL)


build = prefill
