"""Where a model's graph can be cut into problems.

A group of operators (`problems.fusion`) becomes a region together with the
constants, copies and views that belong to it: a small graph of its own, equal
for equal layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from kernelite.problems.fusion import constants, groups, kind_of
from kernelite.problems.operators import copies, is_view, name_of
from kernelite.problems.tensors import TensorSpec

LARGEST_FEEDER = 10  # nodes; a longer chain of constants is an input like any other


@dataclass(frozen=True, slots=True)
class Region:
    """A convex piece of a graph, and the same piece as a graph of its own.

    Attributes:
        kind: ``fusible``, ``attention``, ``gemm`` or ``convolution``.
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
    free = constants(host.graph)
    kinds = [(group, kind) for group in groups(host.graph, free) if (kind := kind_of(group))]
    behind = {id(group): _behind(group) if kind == "attention" else [] for group, kind in kinds}
    taken = {node for nodes in behind.values() for node in nodes}
    regions = []
    for group, kind in kinds:
        inside = _with_feeders(group, free, taken) | set(behind[id(group)])
        regions.append(_region(host, kind, group, sorted(inside, key=order.__getitem__), free))
    return sorted(regions, key=lambda region: order[region.nodes[0]])


def _behind(group: list[fx.Node]) -> list[fx.Node]:
    """The re-ordering views behind an attention, which its kernel can write directly."""
    node, found = group[-1], list[fx.Node]()
    while len(node.users) == 1 and is_view(user := next(iter(node.users))):
        found.append(user)
        node = user
    return found


def _with_feeders(group: list[fx.Node], free: set[fx.Node], taken: set[fx.Node]) -> set[fx.Node]:
    """The group with the constants, copies and views that belong to it."""
    sources = _unique(n for node in group for n in node.all_input_nodes if n not in group)
    paths = {source: _path_down(source, taken) for source in sources if source not in free}
    inside = set(group)
    for source in sources:
        if source in paths:
            inside |= set(_belonging(source, paths, group))
        elif len(made := _made_from(source, free)) <= LARGEST_FEEDER:
            inside |= made
    return inside


def _belonging(
    source: fx.Node, paths: dict[fx.Node, list[fx.Node]], group: list[fx.Node]
) -> list[fx.Node]:
    """The views and copies between an input and the tensor that a kernel should take instead.

    That is the group's own tensor, or one that feeds the group by several
    ways, or the one before the last copy; otherwise the input itself, whose
    strides a kernel takes as they are.
    """
    path = paths[source]
    if path[-1] in group:
        return path[:-1]
    others = {node for other, nodes in paths.items() if other is not source for node in nodes}
    shared = [i for i, n in enumerate(path) if n in others and _is_tensor(n)]
    copied = [i + 1 for i, node in enumerate(path[:-1]) if copies(node)]
    return path[: max(min(shared, default=0), max(copied, default=0))]


def _path_down(node: fx.Node, taken: set[fx.Node]) -> list[fx.Node]:
    """The node, the views and copies that it is made through, and the tensor behind them."""
    path = [node]
    while (is_view(node) or copies(node)) and node not in taken:
        node = node.all_input_nodes[0]
        path.append(node)
    return path


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _made_from(node: fx.Node, free: set[fx.Node]) -> set[fx.Node]:
    """A constant and all constants behind it."""
    found, pending = set[fx.Node](), [node]
    while pending:
        node = pending.pop()
        if node in free and node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return found


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
