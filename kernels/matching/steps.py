"""Steps between two operators that keep or scale the values."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import fields, op, scalar, shape_of
from kernelite.kernels.matching.source import row_major, source


def passed(node: Any, kept: int = 2) -> fx.Node | None:
    """The input of a step that keeps values, order and the last ``kept`` dimensions, or None."""
    if not isinstance(node, fx.Node) or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    inner = node.args[0]
    if not isinstance(inner.meta.get("val"), torch.Tensor) or inner.op != "call_function":
        return None
    shape = shape_of(inner)
    if inner.meta["val"].dtype != node.meta["val"].dtype or len(shape) < kept:
        return None
    number = Layout.strided(shape, row_major(shape))
    read = source(node, {inner: number})
    if read is None or read.root is not inner or (read.scale, read.expression) != (1.0, "x"):
        return None
    same = read.layout.regrouped(shape) == number.regrouped(shape)
    ends = [dims[len(dims) - kept :] for dims in (shape, shape_of(node))]
    return inner if same and ends[0] == ends[1] else None


def factor(node: fx.Node) -> tuple[fx.Node, float] | None:
    """The tensor and the number that ``node`` multiplies or divides, shapes unchanged."""
    if op(node) not in ("mul", "div"):
        return None
    named = fields(node)
    left, right = named["self"], named["other"]
    if op(node) == "mul" and scalar(left) is not None:
        left, right = right, left
    number = scalar(right)
    if number is None or not isinstance(left, fx.Node) or named.get("rounding_mode") is not None:
        return None
    if shape_of(left) != shape_of(node) or (op(node) == "div" and number == 0):
        return None
    return left, (number if op(node) == "mul" else 1 / number)
