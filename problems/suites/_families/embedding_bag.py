"""Bags of embeddings as recommenders have them: of one length or with offsets, weighted or not."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Kind, rows of the table, its columns, bags, entries of a bag (on average, if there are offsets).
SIZES = {
    "small": [
        ("sum", 50, 17, 5, 7),
        ("mean", 40, 64, 9, 3),
        ("max", 31, 33, 6, 5),
        ("weighted", 60, 24, 11, 13),
        ("offsets", 45, 40, 8, 4),
        ("fused", 50, 100, 3, 9),
    ],
    "large": [
        ("sum", 1_000_000, 64, 8192, 32),
        ("mean", 1_000_000, 128, 16384, 20),
        ("max", 100_000, 64, 4096, 50),
        ("weighted", 1_000_000, 64, 8192, 32),
        ("offsets", 1_000_000, 128, 8192, 40),
        ("fused", 50_000, 768, 2048, 128),
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
    """A table and what is made of each bag's rows of it."""

    def __init__(self, kind: str, shape: tuple[int, ...], dtype: str) -> None:
        super().__init__()
        self.kind = kind
        rows, columns, *_ = shape
        self.table = torch.nn.Parameter(torch.randn(rows, columns).to(getattr(torch, dtype)))

    def forward(self, indices: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        match self.kind:
            case "weighted":
                assert other is not None
                return (F.embedding(indices, self.table) * other[..., None]).sum(1)
            case "offsets":
                return F.embedding_bag(indices, self.table, other, mode="sum")
            case "fused":
                return F.embedding_bag(indices, self.table, mode="mean", padding_idx=0)
            case "mean":
                return F.embedding(indices, self.table).mean(1)
            case "max":
                return F.embedding(indices, self.table).amax(1)
        return F.embedding(indices, self.table).sum(1)


def get_inputs(
    kind: str = "sum", shape: tuple[int, ...] = (1000, 64, 32, 8), dtype: str = "float32"
) -> list[torch.Tensor]:
    rows, _, bags, entries = shape
    if kind == "offsets":
        starts = torch.randint(bags * entries + 1, (bags,)).sort().values
        starts[0] = 0
        return [torch.randint(rows, (bags * entries,)), starts]
    indices = torch.randint(rows, (bags, entries))
    return [indices, torch.rand(bags, entries).to(getattr(torch, dtype))][
        : 1 + (kind == "weighted")
    ]


def get_init_inputs(
    kind: str = "sum", shape: tuple[int, ...] = (1000, 64, 32, 8), dtype: str = "float32"
) -> list[object]:
    return [kind, shape, dtype]
