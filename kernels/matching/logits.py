"""Logits that a product makes of hidden states and weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import shape_of
from kernelite.kernels.matching.product import Product
from kernelite.kernels.matching.source import Source, row_major, source


def operands(own: Product) -> tuple[Source, Source] | None:
    """The product's operands as (M, K) and (K, V), if arguments have them."""
    left, right = source(own.left), source(own.right)
    if left is None or right is None or not (left.is_float and right.is_float):
        return None
    rows = prod(own.lead) * own.rows
    whole, weights = own.left_layout(left.layout), own.right_layout(right.layout)
    flat = whole and whole.regrouped((rows, own.inner))
    if flat is None or weights is None or any(step for _, step in weights.dims[0]):
        return None
    matrix = Layout(weights.dims[1:], weights.offset)
    if None in (*map(flat.step, range(2)), *map(matrix.step, range(2))) or not own.is_ordered:
        return None
    return replace(left, layout=flat), replace(right, layout=matrix)


def is_whole(logits: Source, node: fx.Node) -> bool:
    """Whether the loss is that of all logits, in their order."""
    shape = shape_of(node)
    own = Layout.strided(shape, row_major(shape)).regrouped(logits.layout.shape)
    return own == logits.layout
