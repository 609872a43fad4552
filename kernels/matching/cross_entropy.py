"""Does a graph compute the negative log-likelihood of labels, and over which arguments?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.nodes import constant, fields, is_functional, op, shape_of
from kernelite.kernels.matching.source import Source, row_major, source
from kernelite.kernels.matching.steps import factor, passed

REDUCTIONS = ("none", "mean", "sum")
LOG_SOFTMAX = ("log_softmax", "_log_softmax", "special_log_softmax")


@dataclass(frozen=True, slots=True)
class Loss:
    """``scale`` times the loss of each row, or its sum.

    Attributes:
        logits: Layout (rows, classes).
        labels: Layout (rows,).
        reduces: Whether the rows are summed.
        divides_by_kept: Whether the sum is divided by the number of rows not ignored.
        ignored: The label of rows that do not count; None if there is none.
        wraps: Whether negative labels count from the end.
    """

    logits: Source
    labels: Source
    scale: float = 1.0
    reduces: bool = False
    divides_by_kept: bool = False
    ignored: int | None = None
    wraps: bool = False


def loss(graph: fx.GraphModule) -> Loss | None:
    """The loss that the whole graph computes, or None."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    value = outputs[0].meta["val"] if len(outputs) == 1 else None
    if value is None or value.dtype != torch.float32:
        return None
    return _loss(outputs[0]) if value.stride() == row_major(value.shape) else None


def _loss(node: Any) -> Loss | None:
    """The loss that one node holds, its rows in row-major order."""
    if not isinstance(node, fx.Node) or not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    name, inner = op(node), None
    if name == "neg":
        inner = _loss(node.args[0])
        return inner and replace(inner, scale=-inner.scale)
    if (number := factor(node)) is not None:
        inner = _loss(number[0])
        return inner and replace(inner, scale=inner.scale * number[1])
    if name in ("mean", "sum"):
        return _reduced(node)
    for rule in (_fused, _gathered, _indexed, _difference):
        if (found := rule(node)) is not None:
            return found
    before = passed(node, kept=0)
    return None if before is None else _loss(before)


def _reduced(node: fx.Node) -> Loss | None:
    """A sum or mean over all rows."""
    named = fields(node)
    inner = _loss(named["self"])
    if inner is None or inner.reduces or node.meta["val"].dtype != torch.float32:
        return None
    shape = shape_of(named["self"])
    axes = named.get("dim") or range(len(shape))
    count = prod(shape[axis] for axis in axes)
    if count != prod(shape):
        return None
    share = 1 / count if op(node) == "mean" else 1.0
    return replace(inner, reduces=True, scale=inner.scale * share)


def placed(
    logits: fx.Node, axis: int, labels: Any, scale: float, wraps: bool = False
) -> Loss | None:
    """The rows' losses, for classes along ``axis`` of ``logits``."""
    x, target = source(logits), source(labels)
    if x is None or target is None or not x.is_float or target.term != "x":
        return None
    if target.c_type not in ("int64_t", "int32_t"):
        return None
    shape = x.layout.shape
    axis %= len(shape)
    order = [d for d in range(len(shape)) if d != axis] + [axis]
    rows = prod(shape) // shape[axis]
    if prod(target.layout.shape) != rows:
        return None
    placed = x.at(x.layout.permuted(order).regrouped((rows, shape[axis])))
    flat = target.at(target.layout.regrouped((rows,)))
    if placed is None or flat is None or placed.layout.step(1) is None:
        return None
    return Loss(placed, flat, scale, wraps=wraps)


def logits_of(node: Any, axis: int) -> fx.Node | None:
    """What ``node`` is the log-softmax of along ``axis``, or None."""
    while isinstance(node, fx.Node) and op(node) not in LOG_SOFTMAX:
        node = passed(node, kept=1) if axis == len(shape_of(node)) - 1 else None
    if not isinstance(node, fx.Node) or node.meta["val"].dtype != torch.float32:
        return None
    named, rank = fields(node), len(shape_of(node))
    inner: fx.Node = named["self"]
    return inner if named["dim"] % max(rank, 1) == axis % max(rank, 1) else None


def _fused(node: fx.Node) -> Loss | None:
    """``cross_entropy_loss``, or ``nll_loss`` of a log-softmax."""
    name = op(node)
    if name not in ("cross_entropy_loss", "nll_loss_nd", "nll_loss", "nll_loss2d"):
        return None
    named = fields(node)
    logits, labels = named["self"], named["target"]
    axis = 1 if len(shape_of(logits)) > 1 else 0
    if named["weight"] is not None or named.get("label_smoothing", 0.0) != 0:
        return None
    if labels.meta["val"].is_floating_point():
        return None
    inner = logits if name == "cross_entropy_loss" else logits_of(logits, axis)
    found = None if inner is None else placed(inner, axis, labels, 1.0)
    reduction = REDUCTIONS[named["reduction"]]
    return found and replace(found, ignored=named["ignore_index"], reduces=reduction != "none",
                             divides_by_kept=reduction == "mean")  # fmt: skip


def _gathered(node: fx.Node) -> Loss | None:
    """``gather(log_softmax(x), -1, labels[.., None])``: the loss with the other sign."""
    logits = _picked(node)
    inner = logits and logits_of(logits[0], len(shape_of(logits[0])) - 1)
    return placed(inner, -1, logits[1], -1.0) if inner and logits else None


def _picked(node: Any) -> tuple[fx.Node, fx.Node] | None:
    """The tensor and the labels of a gather of one element per row."""
    while isinstance(node, fx.Node) and op(node) != "gather":
        node = passed(node, kept=0)
    if not isinstance(node, fx.Node):
        return None
    named = fields(node)
    shape, index = shape_of(named["self"]), shape_of(named["index"])
    last = named["dim"] % max(len(shape), 1) == len(shape) - 1
    return (named["self"], named["index"]) if last and index == (*shape[:-1], 1) else None


def _indexed(node: fx.Node) -> Loss | None:
    """``log_softmax(x)[arange(rows), labels]``: the loss with the other sign."""
    if op(node) != "index" or len(fields(node)["indices"]) != 2:
        return None
    named = fields(node)
    (rows, labels), inner = named["indices"], logits_of(named["self"], 1)
    count = constant(rows) if rows is not None else None
    if inner is None or count is None or len(shape_of(inner)) != 2 or labels is None:
        return None
    if count.tolist() != list(range(shape_of(inner)[0])) or shape_of(labels) != tuple(count.shape):
        return None
    return placed(inner, 1, labels, -1.0, wraps=True)


def _difference(node: fx.Node) -> Loss | None:
    """``logsumexp(x, -1) - x[label]``."""
    if op(node) != "sub" or fields(node)["alpha"] != 1:
        return None
    named = fields(node)
    total, picked = named["self"], _picked(named["other"])
    while isinstance(total, fx.Node) and op(total) != "logsumexp":
        total = passed(total, kept=0)
    if not isinstance(total, fx.Node) or picked is None:
        return None
    summed, rank = fields(total), len(shape_of(picked[0]))
    if summed["self"] is not picked[0] or [d % rank for d in summed["dim"]] != [rank - 1]:
        return None
    same = shape_of(named["self"]) == shape_of(named["other"])
    return placed(picked[0], -1, picked[1], 1.0) if same else None
