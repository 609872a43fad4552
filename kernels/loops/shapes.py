"""Operators that move, join or create elements and compute nothing."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from kernelite.kernels.loops.call import Call, Handlers
from kernelite.kernels.loops.ir import Node, Unsupported
from kernelite.kernels.loops.ops import computed
from kernelite.kernels.loops.views import Permute, Reshape, Select, Slice, Unsqueeze


def _same(call: Call) -> Node:
    return call.self


def _reshape(call: Call) -> Node:
    return call.dag.view(call.self, Reshape(tuple(call.val.shape)))


def _cast(call: Call) -> Node:
    return call.dag.cast(call.self, computed(call.val.dtype))


def _expand(call: Call) -> Node:
    return call.dag.expand(call.self, tuple(call.val.shape))


def _permute(call: Call) -> Node:
    rank = len(call.self.shape)
    return call.dag.view(call.self, Permute(tuple(axis % rank for axis in call["dims"])))


def _swap(call: Call) -> Node:
    axes = list(range(len(call.self.shape)))
    if len(axes) > 1:
        first, second = (0, 1) if len(axes) == 2 else (-2, -1)
        if "dim0" in call.named:
            first, second = call.axis("dim0"), call.axis("dim1")
        axes[first], axes[second] = axes[second], axes[first]
    return call.dag.view(call.self, Permute(tuple(axes)))


def _unsqueeze(call: Call) -> Node:
    return call.dag.view(call.self, Unsqueeze(int(call["dim"]) % (len(call.self.shape) + 1)))


def _slice(call: Call) -> Node:
    axis = call.axis()
    start, end, step = slice(call["start"], call["end"], call["step"]).indices(
        call.self.shape[axis]
    )
    count = len(range(start, end, step))
    return call.dag.view(call.self, Slice(axis, start, step, count))


def _narrow(call: Call) -> Node:
    axis, start = call.axis(), call["start"]
    if not isinstance(start, int):
        raise Unsupported("a slice that depends on a tensor")
    size = call.self.shape[axis]
    return call.dag.view(call.self, Slice(axis, start % max(size, 1), 1, int(call["length"])))


def _select(call: Call) -> Node:
    axis = call.axis()
    return call.dag.view(call.self, Select(axis, int(call["index"]) % call.self.shape[axis]))


def _split(call: Call) -> list[Node]:
    axis = call.axis()
    sizes = [part.shape[axis] for part in call.val]
    starts = [0, *accumulate(sizes)]
    return [
        call.dag.view(call.self, Slice(axis, start, 1, size))
        for start, size in zip(starts, sizes, strict=False)
    ]


def _unbind(call: Call) -> list[Node]:
    axis = call.axis()
    count = call.self.shape[axis]
    return [call.dag.view(call.self, Select(axis, index)) for index in range(count)]


def _cat(call: Call) -> Node:
    dtype, rank = computed(call.val.dtype), len(call.val.shape)
    parts = [call.dag.cast(p, dtype) for p in call["tensors"] if len(p.shape) == rank]
    return call.dag.cat(parts, int(call["dim"]) % rank)


def _stack(call: Call) -> Node:
    dtype, axis = computed(call.val.dtype), int(call["dim"]) % len(call.val.shape)
    parts = [call.dag.view(call.dag.cast(p, dtype), Unsqueeze(axis)) for p in call["tensors"]]
    return call.dag.cat(parts, axis)


def _constant(call: Call, value: Any) -> Node:
    return call.dag.const(value, computed(call.val.dtype), tuple(call.val.shape))


def _full(call: Call) -> Node:
    value = call["s"] if "s" in call.named else call["fill_value"]
    return _constant(call, value)


def _zeros(call: Call) -> Node:
    return _constant(call, 0)


def _ones(call: Call) -> Node:
    return _constant(call, 1)


def _arange(call: Call) -> Node:
    start, step = call.get("start") or 0, call.get("step") or 1
    steps = call.dag.iota(call.val.shape[0])
    scaled = steps if step == 1 else call.ops("mul", steps, step)
    shifted = scaled if start == 0 else call.ops("add", scaled, start)
    dtype = computed(call.val.dtype)
    return shifted if dtype == "int64_t" else call.dag.cast(shifted, dtype)


def _triangle(comparison: str) -> Any:
    def handler(call: Call) -> Node:
        rows, columns = call.self.shape[-2:]
        row = call.dag.view(call.dag.iota(rows), Unsqueeze(1))
        limit = call.ops("add", row, int(call["diagonal"]))
        inside = call.ops.compare(comparison, call.dag.iota(columns), limit)
        return call.ops.where(inside, call.self, call.dag.const(0, call.self.dtype))

    return handler


HANDLERS: Handlers = (
    dict.fromkeys(
        ("contiguous", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "dropout",
         "feature_dropout", "alpha_dropout", "positive", "resolve_conj", "resolve_neg"), _same
    )
    | dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as",
                     "reshape_as", "squeeze", "ravel"), _reshape)
    | dict.fromkeys(("to", "_to_copy", "type_as", "convert_element_type"), _cast)
    | dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand)
    | dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "mT", "numpy_T"), _swap)
    | dict.fromkeys(("split", "chunk", "split_with_sizes", "tensor_split"), _split)
    | dict.fromkeys(("cat", "concat", "concatenate"), _cat)
    | dict.fromkeys(("full", "full_like", "new_full", "scalar_tensor"), _full)
    | dict.fromkeys(("zeros", "zeros_like", "new_zeros"), _zeros)
    | dict.fromkeys(("ones", "ones_like", "new_ones"), _ones)
    | {"permute": _permute, "unsqueeze": _unsqueeze, "slice": _slice, "narrow": _narrow,
       "select": _select, "unbind": _unbind, "stack": _stack, "arange": _arange,
       "tril": _triangle("le"), "triu": _triangle("ge")}
)  # fmt: skip
