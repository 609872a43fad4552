"""Mean cross-entropy of logits over a vocabulary, as a language model's loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WORKLOADS = {
    "small": {"tokens": 32, "vocabulary": 1000},
    "medium": {"tokens": 128, "vocabulary": 8000},
    "large": {"tokens": 256, "vocabulary": 32_000},
}


class Model(torch.nn.Module):
    """The mean negative log-likelihood of the labels."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels)


def get_inputs(tokens: int = 128, vocabulary: int = 8000) -> list[torch.Tensor]:
    return [torch.randn(tokens, vocabulary), torch.randint(vocabulary, (tokens,))]


def get_init_inputs(tokens: int = 128, vocabulary: int = 8000) -> list[int]:
    return []
