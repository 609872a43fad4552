"""What templates ask of a flat graph: operator names, arguments, constants."""

from __future__ import annotations

from operator import getitem
from typing import Any

import torch
from torch import fx

LARGEST_CONSTANT = 1 << 25


def op(node: Any) -> str:
    """The operator's bare name, in-place forms included: ``masked_fill``; "" for others."""
    packet = getattr(getattr(node, "target", None), "overloadpacket", None)
    return "" if packet is None else str(packet).removeprefix("aten.").rstrip("_")


def fields(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen call by the schema's names, defaults included."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    named = {a.name: node.args[i] if i < len(node.args) else a.default_value
             for i, a in enumerate(schema)}  # fmt: skip
    return {**named, **node.kwargs}


def is_view(node: fx.Node) -> bool:
    """Whether the call returns memory of its input, unwritten."""
    returns = getattr(getattr(node.target, "_schema", None), "returns", ())
    return any(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The node's static shape."""
    return tuple(node.meta["val"].shape)


def is_functional(graph: fx.GraphModule) -> bool:
    """Whether every shape is static and no in-place call can be seen by a later reader."""
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and not all(type(n) is int and n for n in value.shape):
            return False
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable or op(node) == "detach":
            continue
        written = node.args[0]
        if not isinstance(written, fx.Node) or set(written.users) != {node}:
            return False
        if written.op != "call_function" or written.target is getitem or is_view(written):
            return False
    return True


def constant(value: Any) -> torch.Tensor | None:
    """The value of a node that depends on no argument; None if it does, or is random or large."""
    if isinstance(value, (int, float, bool)):
        return torch.tensor(value)
    if not isinstance(value, fx.Node):
        return None
    graph = value.graph.owning_module
    if graph is None:
        return None
    found = _evaluate(value, graph, {})
    return found if isinstance(found, torch.Tensor) else None


class _Unknown(Exception):
    """A constant cannot be computed."""


def _evaluate(node: fx.Node, graph: fx.GraphModule, known: dict[fx.Node, Any]) -> Any:
    order, ahead = [], [node]
    while ahead:
        if (first := ahead.pop()) in known:
            continue
        known[first] = None
        order.append(first)
        ahead += first.all_input_nodes
    try:
        for each in sorted(order):
            known[each] = _value(each, graph, known)
    except _Unknown:
        return None
    return known[node]


def _value(node: fx.Node, graph: fx.GraphModule, known: dict[fx.Node, Any]) -> Any:
    if node.op == "get_attr":
        return graph.get_buffer(str(node.target)).clone()
    if node.op != "call_function" or not callable(node.target):
        raise _Unknown
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags or op(node).startswith(("empty", "new_empty")):
        raise _Unknown
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and value.numel() > LARGEST_CONSTANT:
        raise _Unknown
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: known[n])
    return node.target(*args, **kwargs)


def scalar(value: Any) -> float | None:
    """The number that ``value`` is: a literal, or a constant all of whose elements are equal."""
    if isinstance(value, (int, float)):
        return float(value)
    found = constant(value)
    if found is None or found.is_complex() or not bool((found == found.flatten()[0]).all()):
        return None
    return float(found.flatten()[0])


def argument(node: fx.Node) -> str:
    """The launch specification's name of a placeholder: ``in2`` for the third."""
    return f"in{list(node.graph.find_nodes(op='placeholder', sort=True)).index(node)}"
