"""Does a graph choose the best experts of a softmax, and what do they weigh?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from operator import getitem
from typing import Any

from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import fields, is_functional, op, shape_of
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.steps import factor, passed


@dataclass(frozen=True, slots=True)
class Gate:
    """The ``k`` largest of each row of a softmax, in descending order.

    Attributes:
        logits: Layout (rows, experts).
        weights: Which output holds the values; None if none does.
        indices: Which output holds the experts' numbers; None if none does.
        by_logits: Whether the largest logits are chosen and the softmax is of those; otherwise
            the largest values of the softmax of a whole row are.
        normalised: Whether those values are divided by their sum.
        scale: What they are multiplied with then.
    """

    logits: Source
    k: int
    weights: int | None
    indices: int | None
    by_logits: bool
    normalised: bool
    scale: float


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of a selection, and what was done to them."""

    selection: fx.Node
    k: int
    of_logits: bool = False
    normalised: bool = False
    scale: float = 1.0


def gate(graph: fx.GraphModule) -> Gate | None:
    """The gate that the whole graph computes, or None."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    if not 1 <= len(outputs) <= 2 or any(not n.meta["val"].is_contiguous() for n in outputs):
        return None
    values = [_values(node) for node in outputs]
    numbers = [_picked(node, 1) for node in outputs]
    weighted = next((i for i, found in enumerate(values) if found), None)
    counted = next((i for i, found in enumerate(numbers) if found), None)
    if len({weighted, counted} - {None}) < len(outputs):
        return None
    told = values[weighted] if weighted is not None else None
    selection, k = (told.selection, told.k) if told else numbers[counted or 0] or (None, 0)
    if selection is None or (counted is not None and numbers[counted] != (selection, k)):
        return None
    logits = _logits(selection, softmax=not (told and told.of_logits))
    if logits is None:
        return None
    done = told or _Values(selection, k)
    return Gate(logits, k, weighted, counted, done.of_logits, done.normalised, done.scale)


def _values(node: Any) -> _Values | None:
    """The values of a selection that ``node`` holds, scaled or normalised."""
    if (own := _picked(node, 0)) is not None:
        return _Values(*own)
    if not isinstance(node, fx.Node):
        return None
    if (number := factor(node)) is not None:
        inner = _values(number[0])
        return inner and replace(inner, scale=inner.scale * number[1])
    named = fields(node) if op(node) in ("div", "softmax", "_softmax") else {}
    if op(node) == "div" and named.get("rounding_mode") is None:
        inner = _values(named["self"])
        if inner is None or inner.of_logits or not _is_sum(named["other"], named["self"]):
            return None
        return _Values(inner.selection, inner.k, normalised=True)
    if named and named["dim"] % len(shape_of(node)) == len(shape_of(node)) - 1:
        own = _picked(named["self"], 0)
        return own and _Values(*own, of_logits=True)
    before = passed(node, kept=1)
    return None if before is None else _values(before)


def _is_sum(node: Any, of: Any) -> bool:
    """Whether ``node`` is the sum of ``of`` over its last dimension, which is kept."""
    while isinstance(node, fx.Node) and op(node) != "sum":
        node = passed(node, kept=1)
    if not isinstance(node, fx.Node):
        return False
    named = fields(node)
    last = [d % len(shape_of(of)) for d in named["dim"] or ()] == [len(shape_of(of)) - 1]
    return named["self"] is of and last and bool(named["keepdim"])


def _picked(node: Any, which: int) -> tuple[fx.Node, int] | None:
    """The selection whose first results in each row ``node`` holds, and how many of them."""
    if not isinstance(node, fx.Node) or not node.all_input_nodes:
        return None
    result = node
    while result.target is not getitem and len(result.all_input_nodes) == 1:
        (result,) = result.all_input_nodes
    if result.target is not getitem or result.args[1] != which:
        return None
    selection, shape = result.args[0], shape_of(result)
    if not isinstance(selection, fx.Node) or not _selects_largest(selection):
        return None
    whole = Layout.strided(shape, row_major(shape))
    read = source(node, {result: whole})
    if read is None or (read.scale, read.expression) != (1.0, "x") or not shape_of(node):
        return None
    k = shape_of(node)[-1]
    first = Layout.strided((*shape[:-1], k), row_major(shape))
    rows = prod(shape[:-1])
    same = read.layout.regrouped((rows, k)) == first.regrouped((rows, k))
    return (selection, k) if same and k <= shape[-1] else None


def _selects_largest(node: fx.Node) -> bool:
    """Whether the call orders the last dimension, or part of it, from the largest down."""
    if op(node) == "topk":
        named = fields(node)
        ordered = named["largest"] and named["sorted"]
    elif op(node) == "sort":
        named = fields(node)
        ordered = named["descending"]
    else:
        return False
    rank = len(shape_of(named["self"]))
    return bool(ordered) and rank > 0 and named["dim"] % rank == rank - 1


def _logits(selection: fx.Node, softmax: bool) -> Source | None:
    """What the softmax is of, before or after the selection; layout (rows, experts)."""
    node: Any = fields(selection)["self"]
    if softmax:
        while isinstance(node, fx.Node) and op(node) not in ("softmax", "_softmax"):
            node = passed(node, kept=1)
        if not isinstance(node, fx.Node):
            return None
        named, rank = fields(node), len(shape_of(node))
        if named["dim"] % rank != rank - 1:
            return None
        node = named["self"]
    found, shape = source(node), shape_of(node)
    placed = found and found.at(found.layout.regrouped((prod(shape[:-1]), shape[-1])))
    good = placed and placed.is_float and placed.scale > 0
    if not placed or not good or None in (placed.layout.step(0), placed.layout.step(1)):
        return None
    return placed
