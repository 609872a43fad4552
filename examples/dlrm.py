"""A click model after DLRM: dense features, bags of embeddings, dot products of all pairs.

``kernelite optimize examples/dlrm.py:build``
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

BATCH, DENSE, DIM, BAG = 1024, 13, 64, 10
TABLES = [20_000, 50_000, 100_000, 200_000] * 3


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with a ReLU behind each."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(sizes):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers)


class Bag(nn.Module):
    """Weighted sum of a bag of rows, per sample."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(rows, DIM).uniform_(-0.1, 0.1))

    def forward(self, indices: Tensor, weights: Tensor) -> Tensor:
        return (self.table[indices] * weights.unsqueeze(-1)).sum(1)


class Interaction(nn.Module):
    """Dot products of all pairs of feature vectors, each pair once."""

    rows: Tensor
    columns: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        rows, columns = torch.tril_indices(features, features, offset=-1)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    def forward(self, features: Tensor) -> Tensor:
        products = torch.bmm(features, features.transpose(1, 2))
        return products[:, self.rows, self.columns]


class ClickModel(nn.Module):
    """Probability of a click, shape ``(batch, 1)``."""

    def __init__(self) -> None:
        super().__init__()
        features = len(TABLES) + 1
        self.bottom = mlp(DENSE, 512, 256, DIM)
        self.bags = nn.ModuleList(Bag(rows) for rows in TABLES)
        self.interaction = Interaction(features)
        self.top = mlp(DIM + features * (features - 1) // 2, 1024, 1024, 512)
        self.head = nn.Linear(512, 1)

    def forward(self, dense: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """Score a batch.

        Args:
            dense: Numbers, ``(batch, DENSE)``.
            indices: Rows of each table, ``(tables, batch, BAG)``.
            weights: Weight of each row, ``(tables, batch, BAG)``.
        """
        bottom = self.bottom(dense)
        bags = [bag(indices[i], weights[i]) for i, bag in enumerate(self.bags)]
        pairs = self.interaction(torch.stack([bottom, *bags], dim=1))
        return torch.sigmoid(self.head(self.top(torch.cat([bottom, pairs], dim=1))))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with seeded weights, and one batch of samples."""
    torch.manual_seed(0)
    indices = torch.stack([torch.randint(rows, (BATCH, BAG)) for rows in TABLES])
    weights = torch.rand(len(TABLES), BATCH, BAG)
    return ClickModel().eval(), (torch.randn(BATCH, DENSE), indices, weights)
