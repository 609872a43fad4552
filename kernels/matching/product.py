"""Batched matrix products, in every spelling that ATen has for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import fields, op, scalar, shape_of

PRODUCTS = frozenset(("matmul", "bmm", "mm", "baddbmm", "addmm", "linear", "einsum"))
Axes = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``scale * left @ right + offset_scale * offset`` over common leading dimensions.

    Attributes:
        left_axes: Per leading dimension, then M and K: the axis of ``left``; None if it has none.
        right_axes: The same for ``right``, with K and N last.
        out_axes: Per dimension of the result, its place in the order (leading .., M, N).
        lead: Sizes of the leading dimensions.
        rows, inner, columns: M, K and N.
    """

    left: fx.Node
    right: fx.Node
    left_axes: Axes
    right_axes: Axes
    out_axes: tuple[int, ...]
    lead: tuple[int, ...]
    rows: int
    inner: int
    columns: int
    scale: float = 1.0
    offset: fx.Node | None = None
    offset_scale: float = 1.0

    @property
    def is_ordered(self) -> bool:
        """Whether the result's dimensions are (leading .., M, N)."""
        return self.out_axes == tuple(range(len(self.lead) + 2))

    def left_layout(self, layout: Layout) -> Layout | None:
        """A layout of ``left`` as (all leading, M, K)."""
        return _batched(layout, self.left_axes, (*self.lead, self.rows, self.inner))

    def right_layout(self, layout: Layout) -> Layout | None:
        """A layout of ``right`` as (all leading, K, N)."""
        return _batched(layout, self.right_axes, (*self.lead, self.inner, self.columns))


def _batched(layout: Layout, axes: Axes, shape: Sequence[int]) -> Layout | None:
    dims = tuple(() if axis is None else layout.dims[axis] for axis in axes)
    whole = Layout(dims, layout.offset).expanded(shape)
    return whole.regrouped((prod(shape[:-2]), *shape[-2:]))


def product(node: fx.Node) -> Product | None:
    """The product that ``node`` computes; None if it is none, or of an unknown form."""
    name = op(node)
    if name not in PRODUCTS:
        return None
    if name == "einsum":
        return _einsum(node)
    named = fields(node)
    if name == "linear":
        return _linear(named["input"], named["weight"], named["bias"], shape_of(node))
    if name in ("baddbmm", "addmm"):
        beta, alpha = scalar(named["beta"]), scalar(named["alpha"])
        kind = "batch" if name == "baddbmm" else "mat"
        found = _matmul(named[f"{kind}1"], named[f"{kind}2"], shape_of(node))
        if found is None or beta is None or alpha is None:
            return None
        offset = None if beta == 0 else named["self"]
        return _with_offset(found, alpha, offset, beta)
    right = named["other"] if name == "matmul" else named["mat2"]
    return _matmul(named["self"], right, shape_of(node))


def _linear(
    left: fx.Node, weight: fx.Node, bias: fx.Node | None, shape: tuple[int, ...]
) -> Product | None:
    """``left @ weight.T + bias``."""
    if len(shape) < 2:
        return None
    lead, own = shape[:-2], tuple(range(len(shape)))
    columns, inner = shape_of(weight)
    return Product(left, weight, own, (*(None for _ in lead), 1, 0), own, lead,
                   shape[-2], inner, columns, offset=bias)  # fmt: skip


def _with_offset(found: Product, alpha: float, offset: fx.Node | None, beta: float) -> Product:
    return Product(found.left, found.right, found.left_axes, found.right_axes, found.out_axes,
                   found.lead, found.rows, found.inner, found.columns, alpha, offset,
                   beta)  # fmt: skip


def _matmul(left: fx.Node, right: fx.Node, shape: tuple[int, ...]) -> Product | None:
    ranks = len(shape_of(left)), len(shape_of(right))
    if min(ranks) < 2:
        return None
    axes = [tuple(None if i < len(shape) - rank else i - (len(shape) - rank)
                  for i in range(len(shape))) for rank in ranks]  # fmt: skip
    inner = shape_of(left)[-1]
    return Product(left, right, axes[0], axes[1], tuple(range(len(shape))), shape[:-2],
                   shape[-2], inner, shape[-1])  # fmt: skip


def _einsum(node: fx.Node) -> Product | None:
    named = fields(node)
    tensors, (inputs, arrow, out) = named["tensors"], named["equation"].partition("->")
    terms = inputs.replace(" ", "").split(",")
    if not arrow or len(terms) != 2 or len(tensors) != 2:
        return None
    # The dimensions that each term's ellipsis stands for, the last ones in common.
    dots = [len(shape_of(x)) - len(t) + 3 if "." in t else 0
            for x, t in zip(tensors, terms, strict=True)]  # fmt: skip
    most = max(dots)
    left, right = (t.replace("...", "ABCDEFGH"[most - n : most])
                   for t, n in zip(terms, dots, strict=True))  # fmt: skip
    out = out.replace(" ", "").replace("...", "ABCDEFGH"[:most])
    if any(len(set(t)) != len(t) for t in (left, right, out)) or len(out) < 2:
        return None
    first, second = tensors
    if out[-1] in left and out[-1] not in right:
        left, right, first, second = right, left, second, first
    return _from_letters(node, first, second, left, right, out)


def _from_letters(
    node: fx.Node, first: fx.Node, second: fx.Node, left: str, right: str, out: str
) -> Product | None:
    summed = [c for c in left if c in right and c not in out]
    lost = [c for c in left + right if c not in out and c not in summed]
    rows = out[-2] if out[-2] in left and out[-2] not in right else left[-2:-1]
    columns = [c for c in out if c in right and c not in left]
    if len(summed) != 1 or lost or len(columns) != 1 or not rows or rows in right:
        return None
    lead = [c for c in out if c != rows and c != columns[0]]
    sizes = dict(zip(left, shape_of(first), strict=True))
    sizes |= {c: max(n, sizes.get(c, 1))
              for c, n in zip(right, shape_of(second), strict=True)}  # fmt: skip
    orders = [*lead, rows, summed[0]], [*lead, summed[0], columns[0]], [*lead, rows, columns[0]]
    axes = [tuple(t.index(c) if c in t else None for c in order)
            for t, order in zip((left, right), orders[:2], strict=True)]  # fmt: skip
    return Product(first, second, axes[0], axes[1], tuple(orders[2].index(c) for c in out),
                   tuple(sizes[c] for c in lead), sizes[rows], sizes[summed[0]],
                   sizes[columns[0]])  # fmt: skip
