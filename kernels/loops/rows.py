"""Operators that reduce: sums, extremes, moments, softmax and the normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from kernelite.kernels.loops.call import Call, Handler, Handlers, last_axes
from kernelite.kernels.loops.ir import Node, Unsupported
from kernelite.kernels.loops.ops import Ops, computed
from kernelite.kernels.loops.views import Reshape, Slice, Unsqueeze

INF = float("inf")


def _reduced(ops: Ops, op: str, node: Node, axes: Sequence[int], keep: bool = True) -> Node:
    """Reduction of ``node`` over ``axes``, kept with size 1 if ``keep``."""
    done = ops.dag.reduce(op, node, axes)
    if keep and node.shape:
        for axis in sorted(axes):
            done = ops.dag.view(done, Unsqueeze(axis))
    return done


def _count(node: Node, axes: Sequence[int]) -> int:
    return prod(node.shape[axis] for axis in axes) if node.shape else 1


def _mean_of(ops: Ops, node: Node, axes: Sequence[int], keep: bool = True) -> Node:
    total = _reduced(ops, "sum", node, axes, keep)
    count = _count(node, axes)
    return ops("div", total, float(count))


def _shifted_mean(ops: Ops, node: Node, axes: Sequence[int]) -> Node:
    """The mean as the first value and the mean of what others are more: exact if all are equal."""
    first = node
    try:
        for axis in axes:
            first = ops.dag.view(first, Slice(axis, 0, 1, 1))
    except Unsupported:
        return _mean_of(ops, node, axes)
    return ops("add", first, _mean_of(ops, ops("sub", node, first), axes))


def _variance(
    ops: Ops, node: Node, axes: Sequence[int], correction: float, keep: bool = True
) -> tuple[Node, Node]:
    """Variance and mean, in two passes."""
    mean = (
        _shifted_mean(ops, node, axes)
        if ops.shifts and 0 not in node.shape
        else _mean_of(ops, node, axes)
    )
    centred = ops("sub", node, mean)
    total = _reduced(ops, "sum", ops("mul", centred, centred), axes, keep)
    return ops("div", total, float(max(_count(node, axes) - correction, 0))), mean


def _floating(call: Call) -> Node:
    dtype = computed(call.val.dtype)
    return call.dag.cast(call.self, dtype)


def _sum(call: Call) -> Node:
    return _reduced(call.ops, "sum", _floating(call), call.axes(), bool(call.get("keepdim")))


def _mean(call: Call) -> Node:
    return _mean_of(call.ops, _floating(call), call.axes(), bool(call.get("keepdim")))


def _prod(call: Call) -> Node:
    return _reduced(call.ops, "prod", _floating(call), call.axes(), bool(call.get("keepdim")))


def _extreme(op: str) -> Handler:
    def handler(call: Call) -> Any:
        if call.get("other") is not None:
            return call.ops(f"{op}imum", call.self, call["other"])
        if not prod(call.self.shape) or call.self.dtype == "bool":
            raise Unsupported(f"{op} of this tensor")
        values = _reduced(call.ops, op, call.self, call.axes(), bool(call.get("keepdim")))
        return [values, None] if isinstance(call.val, tuple | list) else values

    return handler


def _logical(op: str) -> Handler:
    def handler(call: Call) -> Node:
        node = call.dag.cast(call.self, "bool")
        return _reduced(call.ops, op, node, call.axes(), bool(call.get("keepdim")))

    return handler


def _correction(call: Call) -> float:
    if call.get("correction") is not None:
        return float(call["correction"])
    return 0.0 if call.get("unbiased") is False else 1.0


def _var(call: Call) -> Node:
    keep = bool(call.get("keepdim"))
    return _variance(call.ops, call.self, call.axes(), _correction(call), keep)[0]


def _std(call: Call) -> Node:
    return call.ops("sqrt", _var(call))


def _var_mean(call: Call) -> list[Node]:
    keep = bool(call.get("keepdim"))
    return [_var(call), _mean_of(call.ops, call.self, call.axes(), keep)]


def _norm(call: Call) -> Node:
    ops, x, order = call.ops, _floating_norm(call), call.get("ord")
    order = call.get("p") if order is None else order
    axes, keep = call.axes(), bool(call.get("keepdim"))
    match 2.0 if order is None else float(order):
        case 2.0:
            return ops("sqrt", _reduced(ops, "sum", ops("mul", x, x), axes, keep))
        case 1.0:
            return _reduced(ops, "sum", ops("abs", x), axes, keep)
        case value if value == INF:
            return _reduced(ops, "max", ops("abs", x), axes, keep)
    raise Unsupported(f"norm of order {order}")


def _floating_norm(call: Call) -> Node:
    if call.self.dtype not in ("float", "double"):
        raise Unsupported("norm of integers")
    return call.self


def _shifted(call: Call, axes: Sequence[int]) -> tuple[Node, Node]:
    """The operand less its maximum, and the maximum."""
    x = _floating(call)
    top = _reduced(call.ops, "top", x, axes)
    return call.ops("sub", x, top), top


def _softmax(call: Call) -> Node:
    ops, axes = call.ops, [call.axis()]
    raised = ops("exp", _shifted(call, axes)[0])
    total = _reduced(ops, "sum", raised, axes)
    return ops("mul", raised, ops("div", 1.0, total))


def _log_softmax(call: Call) -> Node:
    ops, axes = call.ops, [call.axis()]
    shifted, _ = _shifted(call, axes)
    total = _reduced(ops, "sum", ops("exp", shifted), axes)
    return ops("sub", shifted, ops("log", total))


def _logsumexp(call: Call) -> Node:
    ops, axes, keep = call.ops, call.axes(), bool(call.get("keepdim"))
    x = _floating(call)
    top = _reduced(ops, "top", x, axes)
    finite = ops.where(ops.compare("eq", ops("abs", top), INF), 0.0, top)
    total = _reduced(ops, "sum", ops("exp", ops("sub", x, finite)), axes, keep)
    bare = _reduced(ops, "top", x, axes, keep)
    return ops("add", ops("log", total), ops.where(
        ops.compare("eq", ops("abs", bare), INF), 0.0, bare))  # fmt: skip


def _affine(ops: Ops, node: Node, weight: Node | None, bias: Node | None) -> Node:
    node = ops("mul", node, weight) if weight is not None else node
    return ops("add", node, bias) if bias is not None else node


def _normalised(ops: Ops, x: Node, axes: Sequence[int], eps: float) -> tuple[Node, Node, Node]:
    """``x`` with mean 0 and variance 1, its mean, and the reciprocal of its deviation."""
    variance, mean = _variance(ops, x, axes, 0)
    scale = ops("rsqrt", ops("add", variance, eps))
    return ops("mul", ops("sub", x, mean), scale), mean, scale


def _layer_norm(call: Call) -> Any:
    axes = last_axes(call.self, call["normalized_shape"])
    done, mean, scale = _normalised(call.ops, call.self, axes, call["eps"])
    done = _affine(call.ops, done, call["weight"], call["bias"])
    return [done, mean, scale] if isinstance(call.val, tuple | list) else done


def _rms_norm(call: Call) -> Any:
    ops, x = call.ops, call.self
    axes = last_axes(x, call["normalized_shape"])
    eps = call.get("eps")
    if eps is None:
        sample = call.val[0] if isinstance(call.val, tuple | list) else call.val
        eps = torch.finfo(sample.dtype).eps
    scale = ops("rsqrt", ops("add", _mean_of(ops, ops("mul", x, x), axes), eps))
    done = _affine(ops, ops("mul", x, scale), call["weight"], None)
    return [done, scale] if isinstance(call.val, tuple | list) else done


def _group_norm(call: Call) -> Node:
    ops, x, groups = call.ops, call.self, int(call["num_groups"])
    batch, channels, *space = x.shape
    inner = (groups, channels // groups)
    grouped = call.dag.view(x, Reshape((batch, *inner, *space)))
    done, _, _ = _normalised(ops, grouped, list(range(2, len(grouped.shape))), call["eps"])
    ones = (1,) * len(space)
    for op, name in (("mul", "weight"), ("add", "bias")):
        if (node := call.get(name)) is not None:
            done = ops(op, done, call.dag.view(node, Reshape((*inner, *ones))))
    return call.dag.view(done, Reshape(x.shape))


def _per_channel(call: Call, name: str, rank: int) -> Node | None:
    """A parameter of shape (C,) as (C, 1, ..) against (N, C, ..)."""
    node: Node | None = call.get(name)
    for _ in range(rank - 2 if node is not None else 0):
        node = call.dag.view(node, Unsqueeze(len(node.shape)))  # type: ignore[union-attr, arg-type]
    return node


def _batch_norm(call: Call) -> Any:
    ops, rank = call.ops, len(call.self.shape)
    if call.get("training") or call.get("running_mean") is None:
        raise Unsupported("batch_norm of this batch's statistics")
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (_per_channel(call, name, rank) for name in names)
    scale = ops("rsqrt", ops("add", variance, call["eps"]))
    scale = ops("mul", scale, weight) if weight is not None else scale
    done = _affine(ops, ops("sub", call.self, mean), scale, bias)
    return [done, None, None] if isinstance(call.val, tuple | list) else done


HANDLERS: Handlers = {
    "sum": _sum, "mean": _mean, "prod": _prod, "amax": _extreme("max"), "amin": _extreme("min"),
    "max": _extreme("max"), "min": _extreme("min"), "any": _logical("any"), "all": _logical("all"),
    "var": _var, "std": _std, "var_mean": _var_mean, "linalg_vector_norm": _norm, "norm": _norm,
    "softmax": _softmax, "_softmax": _softmax, "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax, "logsumexp": _logsumexp, "layer_norm": _layer_norm,
    "native_layer_norm": _layer_norm, "rms_norm": _rms_norm, "_fused_rms_norm": _rms_norm,
    "group_norm": _group_norm, "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
}  # fmt: skip
