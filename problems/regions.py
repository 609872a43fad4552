"""Where a model's graph can be cut into problems.

Operators that can share a kernel and lie between the same library calls form
one region.  Cutting by *level*, the number of library calls on the longest
path from the inputs, keeps every region convex: no path leaves it and comes
back.  A product, softmax, product chain is one region of its own (attention),
and so is a library product with the activation behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from kernelite.problems.operators import CREATORS, is_fusible, is_gemm, is_view, name_of
from kernelite.problems.tensors import TensorSpec

ACTIVATIONS = ("gelu", "relu", "silu", "sigmoid", "tanh")


@dataclass(frozen=True, slots=True)
class Region:
    """A convex piece of a graph, and the same piece as a graph of its own.

    Attributes:
        kind: ``fusible``, ``attention`` or ``gemm``.
        path: Deepest module path that all operators share; empty for the root.
        inputs: Nodes of the host graph that feed the piece, in placeholder order.
        outputs: Nodes of the host graph that it replaces.
        nodes: Operators inside, views included.
        graph: The piece alone: placeholders ``in0..``, a tuple as output.
        key: Equal for two regions exactly if they compute the same from equal inputs.
    """

    kind: str
    path: str
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]
    graph: fx.GraphModule
    key: str


def partition(host: fx.GraphModule) -> list[Region]:
    """The regions of a flat graph, in the order of their first operator."""
    order = {node: index for index, node in enumerate(host.graph.nodes)}
    free = _constants(host.graph)
    kinds = [(group, kind) for group in _groups(host.graph, free) if (kind := _kind(group))]
    behind = {id(group): _behind(group) if kind == "attention" else [] for group, kind in kinds}
    taken = {node for nodes in behind.values() for node in nodes}
    regions = []
    for group, kind in kinds:
        inside = _with_feeders(group, free, taken) | set(behind[id(group)])
        regions.append(_region(host, kind, group, sorted(inside, key=order.__getitem__), free))
    return sorted(regions, key=lambda region: order[region.nodes[0]])


def _constants(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no placeholder: masks made of ``arange`` and the like."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "call_function" and all(n in found for n in node.all_input_nodes):
            if node.all_input_nodes or name_of(node) in CREATORS:
                found.add(node)
    return found


def _groups(graph: fx.Graph, free: set[fx.Node]) -> list[list[fx.Node]]:
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
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in leader:
        groups.setdefault(find(node), []).append(node)
    apart = [part for group in groups.values() for part in _lookups_apart(group)]
    return _with_epilogues(_with_attention(apart))


def _lookups_apart(group: list[fx.Node]) -> list[list[fx.Node]]:
    """Part table lookups from what follows, unless they are summed over a bag."""
    lookups = [node for node in group if name_of(node) == "embedding"]
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


def _kind(group: Sequence[fx.Node]) -> str | None:
    """What the group is; None if there is nothing to compute in it."""
    names = [name_of(node) for node in group]
    if "scaled_dot_product_attention" in names or (
        "softmax" in names and any(is_gemm(n) for n in group)
    ):
        return "attention"
    if is_gemm(group[0]):
        return "gemm"
    if not is_fusible(group[0]) or set(names) <= {"dropout", "to", "clone", "_to_copy"}:
        return None
    return "fusible"


def _behind(group: list[fx.Node]) -> list[fx.Node]:
    """The re-ordering views behind an attention, which its kernel can write directly."""
    node, found = group[-1], list[fx.Node]()
    while len(node.users) == 1 and is_view(user := next(iter(node.users))):
        found.append(user)
        node = user
    return found


def _with_feeders(
    group: list[fx.Node], free: set[fx.Node], taken: set[fx.Node]
) -> set[fx.Node]:
    """The group with the views and constants that feed it; several regions may share those."""
    inside = set(group)
    pending = list(group)
    while pending:
        for source in pending.pop().all_input_nodes:
            wanted = source in free or (is_view(source) and source not in taken)
            if wanted and source not in inside:
                inside.add(source)
                pending.append(source)
    return inside


def _region(
    host: fx.GraphModule, kind: str, group: list[fx.Node], nodes: list[fx.Node],
    free: set[fx.Node],
) -> Region:  # fmt: skip
    """Cut the nodes out: tensors that a kernel gets first, then state."""
    inside = set(nodes)
    ours = set(group) if kind != "attention" else inside - free
    outputs = tuple(n for n in nodes if n in ours and _leaves(n, inside))
    sources = _unique(s for n in nodes for s in n.all_input_nodes if s not in inside)
    inputs = tuple(sorted(sources, key=_argument_rank))
    graph = _cut(host, nodes, inputs, outputs)
    return Region(kind, _path(group), inputs, outputs, tuple(nodes), graph, _key(graph))


def _argument_rank(node: fx.Node) -> int:
    """Tensors first, then what becomes parameters, then what becomes buffers."""
    if "state" not in node.meta:
        return 0
    return 1 if node.meta["val"].is_floating_point() else 2


def _leaves(node: fx.Node, inside: set[fx.Node]) -> bool:
    return any(user not in inside for user in node.users)


def _unique(nodes: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
    return tuple(dict.fromkeys(nodes))


def _cut(
    host: fx.GraphModule, nodes: Sequence[fx.Node], inputs: Sequence[fx.Node],
    outputs: Sequence[fx.Node],
) -> fx.GraphModule:  # fmt: skip
    graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
    for index, node in enumerate(inputs):
        new[node] = graph.placeholder(f"in{index}")
        new[node].meta["val"] = node.meta["val"]
    for node in nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), new.__getitem__)
        word = name_of(node) or node.op
        new[node] = graph.create_node(node.op, node.target, args, kwargs, name=word)
        new[node].meta["val"] = node.meta["val"]
    graph.output(tuple(new[node] for node in outputs))
    return fx.GraphModule(host, graph)


def _path(group: Sequence[fx.Node]) -> str:
    """The longest module path that all nodes have in common."""
    paths = []
    for node in group:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        paths.append(str(stack[-1][0]).split(".") if stack and stack[-1][0] else [])
    common = paths[0]
    for path in paths[1:]:
        same = [a == b for a, b in zip(common, path, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return ".".join(common)


def _key(graph: fx.GraphModule) -> str:
    """The code, with the looks of all inputs."""
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    return f"{graph.code}\n{[TensorSpec.of(node.meta['val']).as_json() for node in inputs]}"
