"""Does a graph compute softmax(scale * q @ k^T + masks) @ v, and over which arguments?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, inf, prod, sqrt

import torch
from torch import fx

from kernelite.kernels.matching.layout import Factors, Layout
from kernelite.kernels.matching.nodes import fields, is_functional, op, shape_of
from kernelite.kernels.matching.product import PRODUCTS, product
from kernelite.kernels.matching.scores import (
    Add,
    Band,
    Fill,
    Scale,
    Scores,
    Sequences,
    Step,
    hides,
    masked,
    scored,
    settled,
    with_mask,
)
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.steps import factor, passed


@dataclass(frozen=True, slots=True)
class Attention:
    """The whole graph; ``v`` is (leading, keys, D) and ``out`` (leading, queries, D)."""

    scores: Scores
    v: Source
    out: Layout
    out_scale: float
    hidden_rows_are_zero: bool

    @property
    def group(self) -> int:
        """How many successive leading indices share one k and v."""
        lead = self.scores.lead
        return gcd(*(shared(s.layout.dims[0], lead) for s in (self.scores.k, self.v)))

    @property
    def label(self) -> str:
        """``attention`` with the kinds of its masks."""
        kinds = [_kind(step, self.scores.queries) for step in self.scores.steps
                 if not isinstance(step, Scale)]  # fmt: skip
        kinds += ["grouped queries"] if self.group > 1 else []
        return f"attention ({', '.join(kinds)})" if kinds else "attention"

    @property
    def band(self) -> Band | None:
        """The band outside of which scores are hidden for good, the first step if there is one."""
        first = self.scores.steps[0] if self.scores.steps else None
        hidden = isinstance(first, Band) and first.fill == -inf and hides(self.scores.steps, 0)
        return first if isinstance(first, Band) and hidden else None

    @property
    def bounds(self) -> Source | None:
        """Of packed sequences, if they are kept apart for good; then in front of other masks."""
        steps = self.scores.steps[bool(self.band) :]
        apart = steps and isinstance(steps[0], Sequences) and hides(steps, 0)
        return steps[0].bounds if apart and isinstance(steps[0], Sequences) else None


def shared(factors: Factors, lead: int) -> int:
    """How many successive leading indices lie at the same place."""
    if not factors:
        return lead
    size, stride = factors[-1]
    return size if stride == 0 else 1


def _kind(step: Step, queries: int) -> str:
    if isinstance(step, Sequences):
        return "packed"
    if not isinstance(step, Band):
        return "mask"
    return "causal" if step.low <= 1 - queries else "window"


def attention(graph: fx.GraphModule) -> Attention | None:
    """The attention that the whole graph computes, or None."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    wanted = PRODUCTS | {"scaled_dot_product_attention"}
    last = [n for n in graph.graph.nodes if op(n) in wanted]
    if len(outputs) != 1 or not last or outputs[0].meta["val"].dtype != torch.float32:
        return None
    if op(last[-1]) in PRODUCTS:
        return _spelled_out(last[-1], outputs[0])
    return _fused(last[-1], outputs[0])


def _spelled_out(node: fx.Node, output: fx.Node) -> Attention | None:
    found = product(node)
    if found is None or found.offset is not None:
        return None
    if found.left_axes != tuple(range(len(found.left_axes))):
        return None
    weights, share = _weights(found.left)
    if weights is None or shape_of(found.left) != (*found.lead, found.rows, found.inner):
        return None
    scores, v = scored(weights), source(found.right)
    if scores is None or v is None or scores.keys != found.inner:
        return None
    if (scores.lead, scores.queries) != (prod(found.lead), found.rows):
        return None
    v = v.at(found.right_layout(v.layout))
    shape = (*found.lead, found.rows, found.columns)
    written = destination(node, output, shape, found.out_axes)
    if v is None or written is None:
        return None
    scale = share * found.scale * written[1]
    return _whole(scores, v, written[0], scale, hidden_rows_are_zero=False)


def _fused(node: fx.Node, output: fx.Node) -> Attention | None:
    named = fields(node)
    sources = [source(named[name]) for name in ("query", "key", "value")]
    q, k, v = sources
    if named["dropout_p"] or q is None or k is None or v is None:
        return None
    shape, inner = shape_of(node), q.layout.shape[-1]
    lead, keys = shape[:-2], k.layout.shape[-2]
    if named["enable_gqa"]:
        k, v = (s.at(s.layout.repeated(-3, lead[-1] // s.layout.shape[-3])) for s in (k, v))
    batch = prod(lead)
    placed = [
        s and s.at(s.layout.expanded((*lead, *s.layout.shape[-2:])).regrouped((batch, rows, d)))
        for s, rows, d in ((q, shape[-2], inner), (k, keys, inner), (v, keys, shape[-1]))
    ]
    q, k, v = placed
    if q is None or k is None or v is None:
        return None
    scale = named["scale"] if named["scale"] is not None else 1 / sqrt(inner)
    scores: Scores | None = Scores(q, k, batch, shape[-2], keys, scale * q.scale * k.scale)
    if named["is_causal"]:
        scores = scores and scores.then(Band(-shape[-2], 0, -inf))
    if named["attn_mask"] is not None:
        scores = scores and _masked(scores, named["attn_mask"], (*shape[:-1], keys))
    written = destination(node, output, shape, tuple(range(len(shape))))
    if scores is None or written is None:
        return None
    return _whole(scores, v, *written, hidden_rows_are_zero=True)


def _masked(scores: Scores, mask: fx.Node, shape: tuple[int, ...]) -> Scores | None:
    """Behind the fused operator's mask; a boolean one stands for zeros and infinities to add."""
    if mask.meta["val"].dtype != torch.bool:
        return masked(scores, mask, shape, None)
    found = source(mask)
    if found is None:
        return masked(scores, mask, shape, -inf, kept=True)
    added = replace(found, layout=found.layout.expanded(shape))
    return with_mask(scores, added.computed(("choose", added.term, 0.0, -inf)))


def _whole(
    scores: Scores, v: Source, out: Layout, scale: float, hidden_rows_are_zero: bool
) -> Attention | None:
    steps = settled(scores)
    if not all(s.is_float for s in (scores.q, scores.k, v)):
        return None
    masks = [step.mask.layout for step in steps if isinstance(step, (Fill, Add))]
    for layout in (scores.q.layout, scores.k.layout, v.layout, out, *masks):
        if layout.step(1) is None or layout.step(2) is None:
            return None
    scores = replace(scores, steps=steps)
    return Attention(scores, v, out, scale * v.scale, hidden_rows_are_zero)


def destination(
    node: fx.Node, output: fx.Node, shape: tuple[int, ...], out_axes: tuple[int, ...]
) -> tuple[Layout, float] | None:
    """Where the product's elements (leading, queries, D) go in the output, and their factor."""
    number = Layout.strided(shape, row_major(shape))
    read = source(output, {node: number.permuted(out_axes)})
    if read is None or read.root is not node or read.expression != "x":
        return None
    value = output.meta["val"]
    placed: list[tuple[int, int, int]] = []
    for factors, step in zip(read.layout.dims, value.stride(), strict=True):
        for size, position in reversed(factors):
            placed.append((position, size, step))
            step *= size
    placed.sort(reverse=True)
    expected = prod(shape)
    for position, size, _ in placed:
        expected //= size
        if position != expected:
            return None
    flat = Layout((tuple((size, step) for _, size, step in placed),))
    out = flat.regrouped((prod(shape[:-2]), *shape[-2:])) if expected == 1 else None
    return None if out is None or read.layout.offset else (out, read.scale)


def _weights(node: fx.Node) -> tuple[fx.Node | None, float]:
    """The softmax's input behind ``node``, and the factor that its result gets."""
    share, here = 1.0, node
    while True:
        if op(here) in ("softmax", "_softmax", "special_softmax"):
            named, rank = fields(here), len(shape_of(here))
            same = here.meta["val"].dtype == torch.float32 and named["dim"] % rank == rank - 1
            return (named["self"] if same else None), share
        if (number := factor(here)) is not None:
            share, here = share * number[1], number[0]
        elif (inner := passed(here)) is not None:
            here = inner
        else:
            return None, share
