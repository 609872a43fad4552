"""Does a graph compute the gradients of softmax(scale * q @ k^T, masked) @ v, written out?"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.attention import destination
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import fields, is_functional, op, shape_of
from kernelite.kernels.matching.product import product
from kernelite.kernels.matching.scores import Band, Scores, scored, settled
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.steps import factor, passed


@dataclass(frozen=True, slots=True)
class Gradient:
    """One of the three: a layout (leading, rows, columns) of an output, and a factor."""

    number: int
    out: Layout
    scale: float


@dataclass(frozen=True, slots=True)
class AttentionBackward:
    """The whole graph; ``v`` and ``grad`` are (leading, keys or queries, DV).

    The gradients are ``dq.scale * S @ k``, ``dk.scale * S^T @ q`` and ``dv.scale * P^T @ grad``,
    where P are the weights, dP = slope * grad @ v^T and S = P * (dP - rowsum(P * dP)).
    """

    scores: Scores
    band: Band | None
    v: Source
    grad: Source
    slope: float
    dq: Gradient
    dk: Gradient
    dv: Gradient


@dataclass(frozen=True, slots=True)
class _Product:
    """``left @ right`` in one output, ``left`` turned if ``of_columns``."""

    left: fx.Node
    of_columns: bool
    right: Source
    gradient: Gradient


def attention_backward(graph: fx.GraphModule) -> AttentionBackward | None:
    """The gradients that the whole graph computes, or None."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    found = [_product(number, node) for number, node in enumerate(outputs)]
    products = [one for one in found if one is not None]
    if len(outputs) != 3 or len(products) != 3:
        return None
    dq = next((one for one in products if not one.of_columns), None)
    slopes = None if dq is None else _slopes(dq.left)
    if dq is None or slopes is None:
        return None
    weights, values = slopes
    dk = next((one for one in products if one.of_columns and one.left is dq.left), None)
    dv = next((one for one in products if one.of_columns and one.left is weights), None)
    scores, dp = scored(fields(weights)["self"]), scored(values)
    if dk is None or dv is None or scores is None or dp is None or dp.steps:
        return None
    steps = settled(scores)
    band = steps[0] if steps else None
    if len(steps) > 1 or not (band is None or (isinstance(band, Band) and _hides(band))):
        return None
    same = (_same(dq.right, scores.k), _same(dk.right, scores.q), _same(dv.right, dp.q))
    if not all(same) or (dp.queries, dp.keys) != (scores.queries, scores.keys):
        return None
    sources = (scores.q, scores.k, dp.q, dp.k)
    if any(not s.is_float or None in (s.layout.step(1), s.layout.step(2)) for s in sources):
        return None
    grads = [_scaled(one.gradient, one.right) for one in (dq, dk, dv)]
    return AttentionBackward(scores, band, dp.k, dp.q, dp.scale, *grads)


def _hides(band: Band) -> bool:
    return band.fill == -torch.inf


def _same(some: Source, other: Source) -> bool:
    """Whether both read the same elements; factors aside."""
    return (some.root, some.layout) == (other.root, other.layout)


def _scaled(gradient: Gradient, right: Source) -> Gradient:
    return Gradient(gradient.number, gradient.out, gradient.scale * right.scale)


def _product(number: int, output: fx.Node) -> _Product | None:
    """The product that an output is, perhaps scaled and viewed otherwise."""
    node: Any = output
    while isinstance(node, fx.Node) and product(node) is None:
        number_of = factor(node)
        node = number_of[0] if number_of else passed(node, kept=0)
    found = product(node) if isinstance(node, fx.Node) else None
    if found is None or found.offset is not None or not found.is_ordered:
        return None
    left, turned = _turned(found.left)
    right = source(found.right)
    right = right and right.at(found.right_layout(right.layout))
    shape = (*found.lead, found.rows, found.columns)
    place = destination(node, output, shape, found.out_axes)
    if right is None or place is None or None in (place[0].step(1), place[0].step(2)):
        return None
    return _Product(left, turned, right, Gradient(number, place[0], found.scale * place[1]))


def _turned(node: fx.Node) -> tuple[fx.Node, bool]:
    """What ``node`` is a view of, and whether it exchanges the last two dimensions."""
    while (before := passed(node)) is not None:
        node = before
    inner = node.args[0] if node.args else None
    if not isinstance(inner, fx.Node) or inner.op != "call_function":
        return node, False
    shape = shape_of(inner)
    number = Layout.strided(shape, row_major(shape))
    read = source(node, {inner: number}) if len(shape) > 1 else None
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    if read is None or read.root is not inner or read.layout != number.permuted(order):
        return node, False
    while (before := passed(inner)) is not None:
        inner = before
    return inner, True


def _slopes(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """P and dP, if ``node`` is P * (dP - rowsum(P * dP))."""
    if op(node) != "mul":
        return None
    named = fields(node)
    for left, right in (("self", "other"), ("other", "self")):
        weights, rest = _plain(named[left]), _plain(named[right])
        if op(weights) not in ("softmax", "_softmax") or op(rest) != "sub":
            continue
        parts, last = fields(rest), len(shape_of(node)) - 1
        values, total = _plain(parts["self"]), _plain(parts["other"])
        if op(total) != "sum" or parts["alpha"] != 1 or fields(weights)["dim"] % (last + 1) != last:
            continue
        summed = fields(total)
        pair = _plain(summed["self"])
        if [d % (last + 1) for d in summed["dim"] or ()] != [last] or not summed["keepdim"]:
            continue
        if op(pair) == "mul" and {_plain(x) for x in pair.args} == {weights, values}:
            return weights, values
    return None


def _plain(node: Any) -> Any:
    """What a node is a view or another type of, shape and order kept."""
    while isinstance(node, fx.Node) and (before := passed(node)) is not None:
        if prod(shape_of(before)) != prod(shape_of(node)):
            break
        node = before
    return node
