"""Gradients of an activation behind a bias, for what was activated and for the bias."""

from __future__ import annotations

from typing import Any

import torch

SIZES = {
    "small": [
        ("relu", 1, 8),
        ("gelu", 3, 17),
        ("silu", 5, 64),
        ("gelu_tanh", 4, 100),
        ("gelu", 15, 27),
        ("silu", 1, 300),
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


def slope(activation: str, grad: torch.Tensor, x: torch.Tensor) -> Any:
    """``d loss / d x`` of an activation of ``x``, as autograd asks for it."""
    match activation:
        case "relu":
            return torch.ops.aten.threshold_backward(grad, x, 0)
        case "silu":
            return torch.ops.aten.silu_backward(grad, x)
    approximate = "tanh" if activation == "gelu_tanh" else "none"
    return torch.ops.aten.gelu_backward(grad, x, approximate=approximate)


class Model(torch.nn.Module):
    """``d loss / d x`` and ``d loss / d bias`` of ``activation(x + bias)``."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def forward(
        self, x: torch.Tensor, bias: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        into_x = slope(self.activation, grad, x + bias)
        return into_x, into_x.sum(0)


def get_inputs(
    rows: int = 64, columns: int = 128, activation: str = "relu", dtype: str = "float32"
) -> list[torch.Tensor]:
    kind = getattr(torch, dtype)
    shapes: list[tuple[int, ...]] = [(rows, columns), (columns,), (rows, columns)]
    return [torch.randn(shape).to(kind) for shape in shapes]


def get_init_inputs(
    rows: int = 64, columns: int = 128, activation: str = "relu", dtype: str = "float32"
) -> list[str]:
    return [activation]
