"""Elementwise operators."""

from __future__ import annotations

from typing import Any

from kernelite.kernels.loops.call import Call, Handler, Handlers
from kernelite.kernels.loops.ir import Node, Unsupported
from kernelite.kernels.loops.ops import computed

UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "tanh", "erf", "sigmoid", "silu",
         "sin", "cos")  # fmt: skip


def _floating(op: str) -> Handler:
    return lambda call: call.ops.floating(op, call.self)


def _keeping(op: str) -> Handler:
    return lambda call: call.ops(op, call.self)


def _compared(op: str) -> Handler:
    return lambda call: call.ops.compare(op, call.self, call["other"])


def _logical(op: str) -> Handler:
    return lambda call: call.ops.logic(op, call.self, call["other"])


def _bitwise(op: str) -> Handler:
    return lambda call: call.ops(op, call.self, call["other"])


def _extreme(op: str) -> Handler:
    return lambda call: call.ops(op, call.self, call["other"])


def _add(call: Call) -> Node:
    return _scaled(call, "add", call.self, call["other"])


def _sub(call: Call) -> Node:
    return _scaled(call, "sub", call.self, call["other"])


def _rsub(call: Call) -> Node:
    return _scaled(call, "sub", call["other"], call.self)


def _scaled(call: Call, op: str, left: Any, right: Any) -> Node:
    alpha = call.get("alpha")
    if alpha not in (None, 1):
        subtrahend_first = op == "sub" and right is call.self
        if subtrahend_first:
            right = call.ops("mul", right, alpha)
        else:
            right = right * alpha if not isinstance(right, Node) else call.ops("mul", right, alpha)
    return call.ops(op, left, right)


def _mul(call: Call) -> Node:
    ops, other = call.ops, call["other"]
    if computed(call.val.dtype) == "bool":
        return ops.logic("and", call.self, other)
    return ops("mul", call.self, other)


def _div(call: Call) -> Node:
    mode = call.get("rounding_mode")
    quotient = call.ops.floating("div", call.self, call["other"])
    if mode is None:
        return quotient
    if computed(call.val.dtype) not in ("float", "double"):
        raise Unsupported("integer division")
    return call.ops(mode, quotient)


def _pow(call: Call) -> Node:
    base, exponent = call["self"], call["exponent"]
    if computed(call.val.dtype) not in ("float", "double"):
        if exponent == 2:
            return call.ops("mul", base, base)
        raise Unsupported("integer power")
    return call.ops.power(base, exponent)


def _square(call: Call) -> Node:
    return call.ops("mul", call.self, call.self)


def _reciprocal(call: Call) -> Node:
    return call.ops.floating("div", 1.0, call.self)


def _gelu(call: Call) -> Node:
    tanh = call["approximate"] == "tanh"
    return call.ops.floating("gelu_tanh" if tanh else "gelu_erf", call.self)


def _relu(call: Call) -> Node:
    return call.ops("maximum", call.self, 0)


def _clamp(call: Call) -> Node:
    node, low, high = call.self, call.get("min"), call.get("max")
    node = call.ops("maximum", node, low) if low is not None else node
    return call.ops("minimum", node, high) if high is not None else node


def _hardtanh(call: Call) -> Node:
    return call.ops("minimum", call.ops("maximum", call.self, call["min_val"]), call["max_val"])


def _relu6(call: Call) -> Node:
    return call.ops("minimum", call.ops("maximum", call.self, 0), 6)


def _leaky_relu(call: Call) -> Node:
    x, ops = call.self, call.ops
    return ops.where(ops.compare("gt", x, 0), x, ops("mul", x, call["negative_slope"]))


def _elu(call: Call) -> Node:
    x, ops, scale = call.self, call.ops, call["scale"]
    bent = ops.floating("expm1", ops("mul", x, call["input_scale"]))
    below = ops("mul", bent, call["alpha"] * scale)
    return ops.where(ops.compare("gt", x, 0), ops("mul", x, scale), below)


def _softplus(call: Call) -> Node:
    x, ops, beta = call.self, call.ops, call["beta"]
    scaled = ops("mul", x, beta)
    bent = ops.floating("log1p", ops.floating("exp", scaled))
    return ops.where(
        ops.compare("gt", scaled, call["threshold"]), x, ops.floating("div", bent, beta)
    )


def _where(call: Call) -> Node:
    if call.get("other") is None:
        raise Unsupported("where without values")
    return call.ops.where(call["condition"], call["self"], call["other"])


def _masked_fill(call: Call) -> Node:
    x = call.self
    value = call["value"]
    value = call.dag.cast(value, x.dtype) if isinstance(value, Node) else value
    fill = value if isinstance(value, Node) else call.dag.const(value, x.dtype)
    return call.ops.where(call["mask"], fill, x)


def _not(call: Call) -> Node:
    return call.ops.logic("not", call.self)


def _bitwise_not(call: Call) -> Node:
    return _not(call) if call.self.dtype == "bool" else call.ops("bitwise_not", call.self)


def _isnan(call: Call) -> Node:
    return call.ops.compare("ne", call.self, call.self)


def _lerp(call: Call) -> Node:
    ops, start = call.ops, call.self
    weight = call["weight"]
    return ops("add", start, ops("mul", ops("sub", call["end"], start), weight))


def _addcmul(call: Call) -> Node:
    ops = call.ops
    product = ops("mul", call["tensor1"], call["tensor2"])
    scaled = product if call["value"] == 1 else ops("mul", product, call["value"])
    return ops("add", call.self, scaled)


HANDLERS: Handlers = (
    {name: _floating(name) for name in UNARY}
    | {name: _keeping(name) for name in ("neg", "abs", "floor", "ceil", "trunc", "round")}
    | {name: _compared(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
    | {f"logical_{name}": _logical(name) for name in ("and", "or", "xor")}
    | {f"bitwise_{name}": _bitwise(name) for name in ("and", "or", "xor")}
    | {f"__{name}__": _bitwise(name) for name in ("and", "or", "xor")}
    | {name: _extreme(name) for name in ("maximum", "minimum")}
    | dict.fromkeys(("logical_not",), _not)
    | dict.fromkeys(("div", "true_divide"), _div)
    | dict.fromkeys(("mul", "multiply"), _mul)
    | dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), _clamp)
    | {"add": _add, "sub": _sub, "rsub": _rsub, "pow": _pow, "square": _square,
       "reciprocal": _reciprocal, "gelu": _gelu, "relu": _relu, "hardtanh": _hardtanh,
       "relu6": _relu6, "leaky_relu": _leaky_relu, "elu": _elu, "softplus": _softplus,
       "where": _where, "masked_fill": _masked_fill, "bitwise_not": _bitwise_not, "isnan": _isnan,
       "lerp": _lerp, "addcmul": _addcmul, "negative": _keeping("neg")}
)  # fmt: skip
