"""Which operators of a model's graph share a kernel.

Operators that can be fused and lie between the same library calls form one
group.  Cutting by *level*, the number of library calls on the longest path
from the inputs, keeps every group convex: no path leaves it and comes back.
A product, softmax, product chain is one group (attention), and so is a
library product with the activation that alone reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from kernelite.problems.operators import (
    CONVOLUTIONS,
    CREATORS,
    is_fusible,
    is_gemm,
    is_view,
    name_of,
)

ACTIVATIONS = ("gelu", "relu", "silu", "sigmoid", "tanh")


def constants(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no placeholder: masks made of ``arange`` and the like."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        made = node.op == "call_function" and all(n in found for n in node.all_input_nodes)
        if made and (node.all_input_nodes or name_of(node) in CREATORS):
            found.add(node)
    return found


def groups(graph: fx.Graph, free: set[fx.Node]) -> list[list[fx.Node]]:
    """Sets of operators that share a kernel; every library call is in one."""
    level: dict[fx.Node, int] = {}
    leader: dict[fx.Node, fx.Node] = {}

    def find(node: fx.Node) -> fx.Node:
        while leader[node] is not node:
            node = leader[node]
        return node

    for node in graph.nodes:
        inputs = [n for n in node.all_input_nodes if n not in free]
        level[node] = max((level[n] + _is_barrier(n) for n in inputs), default=0)
        if node.op != "call_function" or node in free or is_view(node):
            continue
        leader[node] = node
        if not is_fusible(node):
            continue
        for origin in filter(None, (_behind_views(n) for n in inputs)):
            if origin in leader and is_fusible(origin) and level[origin] == level[node]:
                leader[find(node)] = find(origin)
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in leader:
        found.setdefault(find(node), []).append(node)
    apart = [part for group in found.values() for part in _lookups_apart(group)]
    return _with_epilogues(_with_attention(apart))


def _lookups_apart(group: list[fx.Node]) -> list[list[fx.Node]]:
    """Part table lookups from what follows, unless they are summed over a bag."""
    lookups = [node for node in group if name_of(node) in ("embedding", "index")]
    bags = any(name_of(n) in ("sum", "mean") and _over_bag(n) for n in group)
    if not lookups or bags or len(group) == len(lookups):
        return [group]
    return [*([node] for node in lookups), [node for node in group if node not in lookups]]


def _over_bag(node: fx.Node) -> bool:
    """Whether a reduction leaves the last axis alone."""
    axes = node.args[1] if len(node.args) > 1 else ()
    rank = node.all_input_nodes[0].meta["val"].dim()
    return isinstance(axes, list | tuple) and not {-1, rank - 1} & set(axes) and bool(axes)


def _is_barrier(node: fx.Node) -> bool:
    return node.op == "call_function" and not is_view(node) and not is_fusible(node)


def _behind_views(node: fx.Node) -> fx.Node | None:
    """The operator whose data the node shows, seen through views."""
    while is_view(node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node if node.op == "call_function" else None


def _readers(node: fx.Node) -> list[fx.Node]:
    """Operators that read the node's data, seen through views."""
    found = []
    for user in node.users:
        found += _readers(user) if is_view(user) else [user]
    return found


def _with_attention(groups: list[list[fx.Node]]) -> list[list[fx.Node]]:
    """Join product, softmax and product into one group."""
    home = {node: index for index, group in enumerate(groups) for node in group}
    merged: dict[int, list[fx.Node]] = dict(enumerate(groups))
    for index, group in enumerate(groups):
        if not any(name_of(node) == "softmax" for node in group):
            continue
        inside = set(group)
        before = {
            origin
            for node in group
            for origin in map(_behind_views, node.all_input_nodes)
            if origin is not None and is_gemm(origin) and set(_readers(origin)) <= inside
        }
        after = {r for node in group for r in _readers(node) if r not in inside}
        if len(before) == 1 and len(after) == 1 and is_gemm(last := after.pop()):
            first = before.pop()
            merged[index] = [first, *group, last]
            merged.pop(home[first])
            merged.pop(home[last])
    return list(merged.values())


def _with_epilogues(groups: list[list[fx.Node]]) -> list[list[fx.Node]]:
    """Join a linear layer and an activation that alone reads it."""
    home = {node: index for index, group in enumerate(groups) for node in group}
    merged: dict[int, list[fx.Node]] = dict(enumerate(groups))
    for group in groups:
        node = group[0]
        if len(group) > 1 or name_of(node) not in ACTIVATIONS:
            continue
        origin = _behind_views(node.all_input_nodes[0])
        if origin is not None and name_of(origin) == "linear" and len(_readers(origin)) == 1:
            merged[home[node]] = [origin, node]
            merged.pop(home[origin])
    return list(merged.values())


def kind_of(group: Sequence[fx.Node]) -> str | None:
    """What the group is; None if there is nothing to compute in it."""
    names = [name_of(node) for node in group]
    if "scaled_dot_product_attention" in names or (
        "softmax" in names and any(is_gemm(n) for n in group)
    ):
        return "attention"
    if is_gemm(group[0]) or names[0] in CONVOLUTIONS:
        return "gemm" if is_gemm(group[0]) else "convolution"
    if not is_fusible(group[0]) or set(names) <= {"dropout", "to", "clone", "_to_copy", "cat"}:
        return None
    return "fusible"
