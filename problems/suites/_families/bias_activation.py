"""A bias and an activation behind a product."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

SIZES = {
    "small": [
        ("relu", 1, 8),
        ("gelu", 3, 17),
        ("silu", 5, 64),
        ("gelu_tanh", 9, 100),
        ("gelu", 33, 27),
        ("silu", 1, 400),
    ],
    "large": [
        ("gelu", 8192, 3072),
        ("gelu_tanh", 4096, 16384),
        ("relu", 4096, 4096),
        ("silu", 4096, 11008),
    ],
}
WORKLOADS = {
    f"{size}_{activation}_{rows}x{columns}_{dtype}": {
        "rows": rows, "columns": columns, "activation": activation, "dtype": dtype,
    }
    for size, shapes in SIZES.items()
    for activation, rows, columns in shapes
    for dtype in ("float32", "float16", "bfloat16")
}  # fmt: skip


ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


class Model(torch.nn.Module):
    """``activation(x + bias)``."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return self.activation(x + bias)


def get_inputs(
    rows: int = 64, columns: int = 128, activation: str = "relu", dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (columns,)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    rows: int = 64, columns: int = 128, activation: str = "relu", dtype: str = "float32"
) -> list[str]:
    return [activation]
