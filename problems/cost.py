"""What an operator costs at least: floating-point operations and bytes moved.

The counts are those of the plain algorithm, from shapes alone, so the same
functions serve fake tensors in a graph and real ones in a running model.
Nothing here knows a machine; `kernels.devices` turns counts into time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from kernelite.problems.flops import flops_of

#: Operators that only relabel memory but whose schema does not say so.
RELABEL = frozenset({"_unsafe_view", "getitem", "sym_size", "detach", "lift_fresh", "alias"})
#: Operators that relabel memory where layout and dtype allow it, and copy otherwise.
MAYBE_COPY = frozenset({"reshape", "flatten", "unflatten", "view_as", "reshape_as", "contiguous",
                        "to", "type_as", "_to_copy"})  # fmt: skip
#: Operators that do nothing when the model is not training.
EVALUATION_NOOP = frozenset({"dropout", "dropout_", "native_dropout", "feature_dropout"})
#: Operators that read of their first argument only what their result or their indices name.
GATHERED = frozenset({"embedding", "index_select", "index", "gather", "take"})
BAGS = frozenset({"embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"})


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts for one operator or one region, from shapes.

    Attributes:
        flops: Floating-point operations; a multiply-add is two.
        bytes_unfused: Moved if every operator reads its inputs and writes its outputs.
        bytes_fused: Moved if only what enters and leaves the region is.
    """

    flops: int
    bytes_unfused: int
    bytes_fused: int


def graph_cost(nodes: Iterable[fx.Node]) -> Cost:
    """The cost of a set of nodes of a flat graph (`problems.graph`).

    An expanded input counts its storage once, a sliced one only the part that
    is used, and of an embedding table only the gathered rows are read.
    """
    region = [node for node in nodes if node.op == "call_function"]
    inside = frozenset(region)
    flops = unfused = 0
    for node in region:
        counted = operator_cost(node.target, *_values(node))
        flops += counted.flops
        unfused += counted.bytes_unfused
    entering = {i: None for node in region for i in node.all_input_nodes if i not in inside}
    read = sum(_read_bytes(node, inside) for node in entering)
    leaving = [node for node in region if any(user not in inside for user in node.users)]
    written = sum(_written_bytes(node, inside) for node in leaving)
    return Cost(flops, unfused, read + written)


def operator_cost(target: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Cost:
    """The cost of one call; ``out`` is what it returned. Fake tensors will do."""
    if relabels(target, args, kwargs, out):
        return Cost(0, 0, 0)
    name, results = operator_name(target), _tensors(out)
    if name in BAGS:
        results = results[:1]
    inputs = {id(tensor): tensor for tensor in _tensors((args, kwargs))}
    read = sum(map(distinct_bytes, inputs.values()))
    if inputs and (part := _gathered_bytes(name, args, out)) is not None:
        read -= distinct_bytes(args[0]) - part
    moved = read + sum(map(distinct_bytes, results))
    return Cost(flops_of(target, name, args, kwargs, out), moved, moved)


def operator_name(target: Any) -> str:
    """``add`` for ``aten.add.Tensor`` and for ``aten.add_.Tensor``; a function's own name else."""
    packet = getattr(target, "_overloadpacket", target)
    name = str(getattr(packet, "__name__", packet))
    return name.rstrip("_") if isinstance(target, torch._ops.OpOverload) else name


def relabels(target: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> bool:
    """Whether the call moves no element: a view, a no-op, or a copy that was not needed."""
    name = operator_name(target)
    if name in RELABEL:
        return True
    if name in EVALUATION_NOOP:
        return not next((a for a in (*args, *kwargs.values()) if isinstance(a, bool)), True)
    if name in MAYBE_COPY:
        return not _copies(args, out)
    return bool(getattr(target, "is_view", False)) or not _tensors(out)


def distinct_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the tensor's distinct elements: an expanded axis counts once."""
    extents = zip(tensor.shape, tensor.stride(), strict=True)
    return prod(int(size) for size, step in extents if step or not size) * tensor.element_size()


def _copies(args: Sequence[Any], out: Any) -> bool:
    """Whether ``out`` cannot be a view of the first argument."""
    source = args[0]
    if not (isinstance(source, torch.Tensor) and isinstance(out, torch.Tensor)):
        return False
    if source.dtype != out.dtype or source.device != out.device:
        return True
    if source.shape == out.shape:
        return source.stride() != out.stride()
    blank = torch.empty_strided(source.shape, source.stride(), dtype=source.dtype, device="meta")
    try:
        blank.view(out.shape)
    except RuntimeError:
        return True
    return False


def _gathered_bytes(name: str, args: Sequence[Any], out: Any) -> int | None:
    """Bytes read of the first argument, at most all; None if the operator reads it whole."""
    if name in BAGS:
        table, indices = args[:2]
        row_bytes = int(table.shape[-1]) * table.element_size()
        return min(distinct_bytes(table), int(indices.numel() * row_bytes))
    if name in GATHERED:
        return min(distinct_bytes(args[0]), sum(map(distinct_bytes, _tensors(out))))
    return None


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _values(node: fx.Node) -> tuple[Sequence[Any], dict[str, Any], Any]:
    """Arguments, keyword arguments and result of a node, as fake tensors."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda inner: inner.meta.get("val"))
    return args, dict(kwargs), node.meta.get("val")


def _read_bytes(node: fx.Node, inside: frozenset[fx.Node]) -> int:
    """Bytes of ``node``'s result that the region's nodes use."""
    whole = sum(map(distinct_bytes, _tensors(node.meta.get("val"))))
    used = 0
    for user in (user for user in node.users if user in inside):
        args, kwargs, out = _values(user)
        if relabels(user.target, args, kwargs, out):
            used += _read_bytes(user, inside)
            continue
        part = _gathered_bytes(operator_name(user.target), args, out)
        if part is None or user.args[0] is not node:
            return whole
        used += part
    return min(whole, used)


def _written_bytes(node: fx.Node, inside: frozenset[fx.Node]) -> int:
    """Bytes that the region writes for a result; none if it only relabels an input."""
    base = node
    while relabels(base.target, *_values(base)) and base.all_input_nodes:
        base = base.all_input_nodes[0]
        if base not in inside:
            return 0
    return sum(map(distinct_bytes, _tensors(node.meta.get("val"))))
