"""Does a graph compute the gradient of a cross entropy for its logits?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import getitem
from typing import Any

from torch import fx

from kernelite.kernels.matching.cross_entropy import REDUCTIONS, Loss, logits_of, placed
from kernelite.kernels.matching.nodes import fields, is_functional, op, shape_of
from kernelite.kernels.matching.source import Source, declared_stride, row_major, source
from kernelite.kernels.matching.steps import passed

ALIKE = ("weight", "reduction", "ignore_index")


@dataclass(frozen=True, slots=True)
class LossGradient:
    """``grad`` times the derivative of a loss for its logits, (rows, classes) in row-major order.

    Attributes:
        grad: Layout (rows,), or () for a loss that is reduced.
    """

    loss: Loss
    grad: Source


def into_logits(graph: fx.GraphModule) -> list[fx.Node]:
    """Where gradients of losses for their logits come out."""
    return [node for node in graph.graph.nodes if op(node) == "_log_softmax_backward_data"]


def loss_gradient(graph: fx.GraphModule) -> LossGradient | None:
    """What the whole graph computes, as autograd writes it, or None."""
    if not is_functional(graph):
        return None
    outputs = next(iter(graph.graph.find_nodes(op="output"))).args[0]
    if len(outputs) != 1 or declared_stride(outputs[0]) != row_major(shape_of(outputs[0])):
        return None
    node: fx.Node | None = outputs[0]
    while node is not None and op(node) != "_log_softmax_backward_data":
        node = passed(node, kept=0)
    return None if node is None else _found(node)


def _found(node: fx.Node) -> LossGradient | None:
    """From the step through the log-softmax, and behind it that through the choice of labels."""
    named = fields(node)
    inner, softmax = named["grad_output"], named["output"]
    if op(inner) != "nll_loss_backward" or len(shape_of(node)) != 2 or named["dim"] % 2 != 1:
        return None
    choice = fields(inner)
    reduction = REDUCTIONS[choice["reduction"]]
    if choice["self"] is not softmax or choice["weight"] is not None:
        return None
    if reduction == "mean" and not _counts(choice["total_weight"], choice):
        return None
    logits = logits_of(softmax, 1)
    found = logits and placed(logits, 1, choice["target"], 1.0)
    grad = source(choice["grad_output"])
    if not found or grad is None or not grad.is_float:
        return None
    loss = replace(found, ignored=choice["ignore_index"], reduces=reduction != "none",
                   divides_by_kept=reduction == "mean")  # fmt: skip
    return LossGradient(loss, grad)


def _counts(total: Any, choice: dict[str, Any]) -> bool:
    """Whether ``total`` is what the forward pass counted of the same labels."""
    if not isinstance(total, fx.Node) or total.target is not getitem or total.args[1] != 1:
        return False
    forward = total.args[0]
    if op(forward) != "nll_loss_forward":
        return False
    counted = fields(forward)  # type: ignore[arg-type]
    return counted["target"] is choice["target"] and all(
        counted[name] == choice[name] for name in ALIKE
    )
