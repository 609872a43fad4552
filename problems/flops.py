"""How many floating-point operations an operator needs; each formula with its source.

Products of matrices, convolutions and attention follow
``torch.utils.flop_counter`` where that has the operator.  The rest is counted
per element from the definition.  A transcendental function counts the
multiplications and additions of a single-precision polynomial, because that
is what a vector unit spends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

#: Range reduction (4), polynomial of degree 5 (10), scaling (2): Cephes ``expf``.
EXP = 16
#: Operations per element of the result.  Cephes single precision: ``logf`` has degree 8,
#: ``tanhf`` and sigmoid are an exponential and a division; ``erf`` is Abramowitz and
#: Stegun 7.1.26 (exponential, degree 5, division).  GELU: Hendrycks and Gimpel, 1606.08415.
ELEMENTWISE = {
    "exp": EXP, "exp2": EXP, "expm1": EXP, "log": 20, "log2": 20, "log1p": 20, "sin": 16, "cos": 16,
    "tanh": EXP + 3, "sigmoid": EXP + 2, "silu": EXP + 3, "erf": EXP + 14, "gelu": EXP + 12,
    "softplus": EXP + 21, "mish": 2 * EXP + 24, "elu": EXP + 2, "selu": EXP + 2, "pow": 2,
    "addcmul": 3, "addcdiv": 3, "lerp": 3, "hardswish": 4, "hardsigmoid": 3, "clamp": 2, "rsqrt": 2,
}  # fmt: skip
#: Operations per element of the first argument.  Softmax: maximum, subtract, exponential,
#: sum, divide.  Layer norm (Ba et al., 1607.06450): sum, subtract, square, sum, scale, affine.
#: RMS norm (Zhang and Sennrich, 1910.07467): square, sum, scale, weight.
PER_INPUT = {
    "softmax": EXP + 4, "_softmax": EXP + 4, "log_softmax": EXP + 4, "_log_softmax": EXP + 4,
    "logsumexp": EXP + 3, "cross_entropy_loss": EXP + 4, "layer_norm": 8, "native_layer_norm": 8,
    "group_norm": 8, "native_group_norm": 8, "batch_norm": 2, "instance_norm": 8, "rms_norm": 4,
    "_fused_rms_norm": 4, "sum": 1, "mean": 1, "amax": 1, "amin": 1, "max": 1, "min": 1,
    "argmax": 1, "argmin": 1, "prod": 1, "cumsum": 1, "var": 4, "std": 4, "var_mean": 4, "norm": 2,
    "linalg_vector_norm": 2, "mse_loss": 3, "l1_loss": 2, "nll_loss": 0, "adaptive_avg_pool2d": 1,
}  # fmt: skip
#: Operators that move or make elements and compute none.
COPIES = frozenset({
    "embedding", "clone", "contiguous", "copy", "cat", "concat", "stack", "index", "index_select",
    "gather", "take", "where", "masked_fill", "tril", "triu", "zeros", "ones", "full", "empty",
    "zeros_like", "ones_like", "full_like", "empty_like", "arange", "scalar_tensor", "to",
    "_to_copy", "reshape", "flatten", "constant_pad_nd", "pad", "repeat", "repeat_interleave",
    "roll", "flip", "new_zeros", "new_ones", "new_full", "new_empty", "one_hot", "nonzero",
    "upsample_nearest2d", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and",
})  # fmt: skip


def flops_of(target: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Floating-point operations of one call; ``name`` is `cost.operator_name` of ``target``.

    An operator without a formula counts one operation per element of its results.
    """
    if formula := SHAPED.get(name):
        return formula(args, kwargs, out)
    packet = getattr(target, "_overloadpacket", None)
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out))
    if name in COPIES:
        return 0
    if name in PER_INPUT:
        return PER_INPUT[name] * _count(args[:1])
    return ELEMENTWISE.get(name, 1) * _count(out)


def _count(value: Any) -> int:
    leaves = pytree.tree_leaves(value)
    return sum(int(leaf.numel()) for leaf in leaves if isinstance(leaf, torch.Tensor))


def _linear(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """A dot product of in_features per output; like ``addmm``, the bias is not counted."""
    return 2 * int(args[0].numel()) * int(args[1].shape[0] if args[1].dim() == 2 else 1)


def _matmul(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """A dot product over the inner dimension per output element."""
    return 2 * int(out.numel()) * int(args[0].shape[-1])


def _convolution(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """A dot product over one filter per output element; groups are in the filter's shape."""
    weight = args[1]
    return 2 * int(out.numel()) * prod(int(extent) for extent in weight.shape[1:])


def _transposed(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Each input element is multiplied with one whole filter and scattered."""
    return 2 * int(args[0].numel()) * prod(int(extent) for extent in args[1].shape[1:])


def _attention(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Two products over the visible pairs and their softmax (Vaswani et al., 1706.03762).

    With ``is_causal`` query i sees the keys 0 to i, so about half the pairs count.
    """
    query, key, value = args[:3]
    rows, columns = int(query.shape[-2]), int(key.shape[-2])
    causal = any(flag is True for flag in (*args[3:], kwargs.get("is_causal")))
    pairs = sum(min(i + 1, columns) for i in range(rows)) if causal else rows * columns
    heads = prod(int(extent) for extent in query.shape[:-2])
    return heads * pairs * (2 * int(query.shape[-1]) + 2 * int(value.shape[-1]) + EXP + 4)


def _einsum(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """A multiply-add per point of the index space that all labels span together."""
    labels = str(args[0]).replace(" ", "").partition("->")[0].split(",")
    extents: dict[str, int] = {}
    for names, tensor in zip(labels, args[1], strict=True):
        if "." in names:
            return 2 * _count(out)
        extents |= dict(zip(names, map(int, tensor.shape), strict=True))
    return 2 * prod(extents.values())


def _bag(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """An addition per gathered element; a multiplication too if the rows are weighted."""
    weighted = any(isinstance(a, torch.Tensor) and a.is_floating_point() for a in args[2:])
    return (2 if weighted else 1) * int(args[1].numel()) * int(args[0].shape[-1])


def _pool(args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """One comparison or addition per element of every window."""
    window = args[1] if isinstance(args[1], Sequence) else [args[1]]
    first = pytree.tree_leaves(out)[0]
    return int(first.numel()) * prod(int(extent) for extent in window)


Formula = Callable[[Sequence[Any], dict[str, Any], Any], int]
SHAPED: dict[str, Formula] = {
    "linear": _linear, "matmul": _matmul, "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "conv1d": _convolution, "conv2d": _convolution, "conv3d": _convolution,
    "conv_transpose1d": _transposed, "conv_transpose2d": _transposed,
    "embedding_bag": _bag, "_embedding_bag": _bag, "_embedding_bag_forward_only": _bag,
    "max_pool2d": _pool, "max_pool2d_with_indices": _pool, "avg_pool2d": _pool,
}  # fmt: skip
