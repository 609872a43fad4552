"""What a graph does to q @ k^T before the softmax: scales and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.nodes import constant, fields, op, scalar, shape_of
from kernelite.kernels.matching.product import product
from kernelite.kernels.matching.sequences import sequences
from kernelite.kernels.matching.source import Source, source
from kernelite.kernels.matching.steps import factor, passed

# A score at or below this is taken for minus infinity where its row has another one.
HIDDEN = -1e9
# As `op` names them, which takes the underscores of in-place forms off.
NOT = ("bitwise_not", "logical_not")
AND = ("bitwise_and", "logical_and", "__and")
OR = ("bitwise_or", "logical_or", "__or")


@dataclass(frozen=True, slots=True)
class Band:
    """Scores outside ``low <= key - query <= high`` become ``fill``, or have it ``added``."""

    low: int
    high: int
    fill: float
    added: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """Scores where ``mask`` (leading, queries, keys) is true become ``value``."""

    mask: Source
    value: float


@dataclass(frozen=True, slots=True)
class Add:
    """``mask`` (leading, queries, keys) is added to the scores."""

    mask: Source


@dataclass(frozen=True, slots=True)
class Scale:
    """The scores are multiplied by ``factor``."""

    factor: float


@dataclass(frozen=True, slots=True)
class Sequences:
    """Scores of tokens between which one of the ``bounds`` (count,) lies become minus infinity."""

    bounds: Source


Step = Band | Fill | Add | Scale | Sequences


@dataclass(frozen=True, slots=True)
class Scores:
    """Scaled products of queries and keys, and what happens to them before the softmax.

    Attributes:
        q: Layout (leading, queries, D).
        k: Layout (leading, keys, D).
        lead, queries, keys: Sizes, all leading dimensions as one.
    """

    q: Source
    k: Source
    lead: int
    queries: int
    keys: int
    scale: float
    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> Scores:
        """The scores after further steps."""
        return replace(self, steps=(*self.steps, *steps))


def scored(node: fx.Node) -> Scores | None:
    """The scores that ``node`` (.., queries, keys) holds; None if it holds something else."""
    if node.meta["val"].dtype != torch.float32:
        return None
    if (found := _product_of_q_and_k(node)) is not None:
        return found
    if (number := factor(node)) is not None:
        inner = scored(number[0])
        return inner and _scaled(inner, number[1])
    if (before := passed(node)) is not None:
        return scored(before)
    named = fields(node) if op(node) in ("add", "masked_fill", "where") else {}
    shape = shape_of(node)
    if op(node) == "masked_fill":
        return _filled(named["self"], named["mask"], scalar(named["value"]), shape)
    if op(node) == "where" and "other" in named:
        value = scalar(named["other"])
        if value is not None:
            return _filled(named["self"], named["condition"], value, shape, kept=True)
        return _filled(named["other"], named["condition"], scalar(named["self"]), shape)
    if op(node) == "add" and named["alpha"] == 1:
        for left, right in ((0, 1), (1, 0)):
            pair = (named["self"], named["other"])
            if isinstance(pair[left], fx.Node) and isinstance(pair[right], fx.Node):
                inner = scored(pair[left]) if shape_of(pair[left]) == shape else None
                if inner is not None:
                    return masked(inner, pair[right], shape, None)
    return None


def _product_of_q_and_k(node: fx.Node) -> Scores | None:
    found = product(node)
    if found is None or not found.is_ordered:
        return None
    q, k = source(found.left), source(found.right)
    if q is None or k is None:
        return None
    q, k = q.at(found.left_layout(q.layout)), k.at(found.right_layout(k.layout))
    if q is None or k is None:
        return None
    k = replace(k, layout=k.layout.permuted((0, 2, 1)))
    scale = found.scale * q.scale * k.scale
    scores = Scores(q, k, prod(found.lead), found.rows, found.columns, scale)
    if found.offset is None:
        return scores
    offset = source(found.offset)
    if offset is None:
        return None
    layout = offset.layout.expanded(shape_of(node))
    return with_mask(scores, replace(offset.times(found.offset_scale), layout=layout))


def _scaled(scores: Scores, number: float) -> Scores | None:
    if not scores.steps:
        return replace(scores, scale=scores.scale * number)
    # A factor that is not positive would undo what a mask hides.
    return scores.then(Scale(number)) if 0 < number < inf else None


def _filled(
    inner: Any, mask: Any, value: float | None, shape: tuple[int, ...], kept: bool = False
) -> Scores | None:
    if not isinstance(inner, fx.Node) or value is None or shape_of(inner) != shape:
        return None
    scores = scored(inner)
    return scores and masked(scores, mask, shape, value, kept)


def masked(
    scores: Scores, mask: fx.Node, shape: tuple[int, ...], value: float | None, kept: bool = False
) -> Scores | None:
    """The scores behind a mask that broadcasts to ``shape`` (leading .., queries, keys).

    Args:
        scores: What is masked.
        mask: The mask.
        shape: The scores' shape at this place of the graph.
        value: What a masked score becomes; None if the mask is added.
        kept: The mask is true where a score stays.
    """
    fixed = constant(mask)
    if fixed is not None:
        return _masked_by_constant(scores, fixed, shape, value, kept)
    if value is not None and op(mask) in NOT:
        return masked(scores, mask.args[0], shape, value, not kept)  # type: ignore[arg-type]
    if value is not None and op(mask) in (AND if kept else OR):
        for part in mask.args:
            inner = masked(scores, part, shape, value, kept)  # type: ignore[arg-type]
            if inner is None:
                return None
            scores = inner
        return scores
    if value == -inf and scores.queries == scores.keys and (apart := sequences(mask)) is not None:
        return scores.then(Sequences(apart[0])) if apart[1] is kept else None
    found = source(mask)
    if found is None:
        return None
    found = replace(found, layout=found.layout.expanded(shape))
    if value is None:
        return with_mask(scores, found)
    if kept:
        found = found.computed(("not", found.term))
    whole = found.at(found.layout.regrouped((scores.lead, scores.queries, scores.keys)))
    return None if whole is None else scores.then(Fill(whole, value))


def with_mask(scores: Scores, mask: Source) -> Scores | None:
    """The scores plus a mask whose layout broadcasts to (leading .., queries, keys)."""
    whole = mask.at(mask.layout.regrouped((scores.lead, scores.queries, scores.keys)))
    return None if whole is None else scores.then(Add(whole))


def _masked_by_constant(
    scores: Scores, mask: torch.Tensor, shape: tuple[int, ...], value: float | None, kept: bool
) -> Scores | None:
    if prod(mask.shape[:-2]) != 1 or mask.is_complex():
        return None
    mask = mask.reshape(mask.shape[-2:] or (1,)).expand(shape[-2:])
    if value is None:
        blocked, added = mask != 0, mask[mask != 0]
        if added.numel() and not bool((added == added[0]).all()):
            return None
        fill = float(added[0]) if added.numel() else -inf
    else:
        blocked, fill = (~mask.bool() if kept else mask.bool()), value
    low, high = _extent(~blocked)
    if not torch.equal(~blocked, torch.ones_like(blocked).triu(low).tril(high)):
        return None
    band = Band(low, high, fill, added=value is None)
    return scores.then(band) if bool(blocked.any()) else scores


def _extent(seen: torch.Tensor) -> tuple[int, int]:
    """Least and greatest key less query that a mask (queries, keys) leaves visible."""
    rows = seen.any(1).nonzero()[:, 0]
    if not rows.numel():
        return 1, 0
    first = seen.byte().argmax(1)[rows] - rows
    last = seen.shape[1] - 1 - seen.flip(1).byte().argmax(1)[rows] - rows
    return int(first.min()), int(last.max())


def settled(scores: Scores) -> tuple[Step, ...]:
    """The steps, with all bands that hide scores for good merged into a first one."""
    bands = [s for s in scores.steps if isinstance(s, Band)]
    if not bands:
        return scores.steps
    low, high = max(band.low for band in bands), min(band.high for band in bands)
    keys = scores.keys - 1
    full = all(max(0, i + low) <= min(keys, i + high) for i in range(scores.queries))
    loaded = any(isinstance(s, (Fill, Add, Sequences)) for s in scores.steps)
    behind = scores.steps[scores.steps.index(bands[0]) :]
    undone = any(isinstance(s, Fill) and s.value != -inf for s in behind)
    finite = [band for band in bands if band.fill != -inf]
    if any(b.fill > HIDDEN for b in bands) or undone or (finite and (loaded or not full)):
        return scores.steps
    rest = tuple(s for s in scores.steps if not isinstance(s, Band))
    return (Band(low, high, -inf, all(band.added for band in bands)), *rest)


def hides(steps: tuple[Step, ...], position: int) -> bool:
    """Whether no later step gives a score that the one at ``position`` hid a value again."""
    return not any(
        (isinstance(s, Fill) and s.value != -inf) or (isinstance(s, Band) and s.fill != -inf)
        for s in steps[position + 1 :]
    )
