"""The operator that already exists: the cheapest candidate, and the hardest to beat.

Each rule replaces a piece of the problem's graph by one fused library call;
the rest of the graph stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import torch
from torch import fx

from kernelite.agent.proposers import Fixed
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.nodes import constant
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Plan
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.operators import name_of
from kernelite.problems.problem import Problem, instantiate

ONEDNN_POST_OPERATIONS = {"relu": "relu", "gelu": "gelu", "silu": "swish", "tanh": "tanh"}
aten = torch.ops.aten

Rule = Callable[[fx.Graph, fx.Node], "fx.Node | None"]


class Library:
    """Fused operators that PyTorch ships."""

    seconds = 0.2

    def propose(self, problem: Problem, target: Target | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        found: list[Plan] = []
        for label, rule in (*RULES, *(CPU_RULES if target is None else ())):
            instance = instantiate(problem, 0)
            try:
                graph = flat_graph(instance.model, instance.inputs)
            except NotTraceable:
                return []
            if _apply(graph, rule):
                found.append(Fixed(label, Kernel("pytorch", _source(graph, label))))
        return found


def _apply(module: fx.GraphModule, rule: Rule) -> bool:
    """Replace every node that the rule knows; whether there was one."""
    changed = False
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        with module.graph.inserting_before(node):
            new = rule(module.graph, node)
        if new is not None:
            node.replace_all_uses_with(new)
            changed = True
    module.graph.eliminate_dead_code()
    return changed and not any(node.op == "get_attr" for node in module.graph.nodes)


def _source(module: fx.GraphModule, label: str) -> str:
    """The graph as a ``run`` function."""
    code = module.graph.python_code("self").src
    body = code[code.index("def forward") :].replace("def forward(self, ", "def run(")
    body = re.sub(r";  (\w+ = )+None", "", body)
    return (
        f'"""Library: {label}."""\n\nimport torch\nfrom torch import device, inf, nan\n\n\n{body}'
    )


def _attention(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Softmax(scale * q @ k^T + mask) @ v as scaled_dot_product_attention."""
    if name_of(node) not in ("matmul", "bmm"):
        return None
    weights, value = node.args[0], node.args[1]
    while name_of(weights) in ("dropout", "to", "clone"):  # type: ignore[arg-type]
        weights = weights.args[0]  # type: ignore[union-attr]
    if not isinstance(weights, fx.Node) or name_of(weights) != "softmax":
        return None
    if weights.args[1] not in (-1, weights.meta["val"].dim() - 1):
        return None
    scores, scale, mask, causal = weights.args[0], 1.0, None, False
    while isinstance(scores, fx.Node) and name_of(scores) not in ("matmul", "bmm"):
        first, other = scores.args[0], scores.args[1] if len(scores.args) > 1 else None
        if scores.kwargs and name_of(scores) != "to":
            return None
        match name_of(scores):
            case "mul" if isinstance(other, int | float):
                scale *= other
            case "div" if isinstance(other, int | float):
                scale /= other
            case "add" if isinstance(other, fx.Node) and mask is None and not causal and scale == 1:
                mask = other
            case "masked_fill" if scores.args[2] == -math.inf and mask is None and not causal:
                causal = _is_causal(other)
                mask = None if causal else graph.call_function(aten.logical_not.default, (other,))
            case "to":
                pass
            case _:
                return None
        scores = first
    if not isinstance(scores, fx.Node):
        return None
    query, key = scores.args[0], scores.args[1]
    keys = graph.call_function(aten.transpose.int, (key, -2, -1))
    return graph.call_function(
        aten.scaled_dot_product_attention.default,
        (query, keys, value, mask, 0.0, causal),
        {"scale": scale},
    )


def _is_causal(hidden: object) -> bool:
    """Whether a constant hides exactly the keys behind each query."""
    found = constant(hidden)
    if found is None or found.dim() < 2 or found.dtype != torch.bool:
        return False
    square = found.reshape(-1, *found.shape[-2:])
    return bool((square == torch.ones(square.shape[-2:], dtype=torch.bool).triu(1)).all())


def _onednn_activated(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A linear layer with the activation behind it as one call of oneDNN."""
    if name_of(node) not in ONEDNN_POST_OPERATIONS or not isinstance(node.args[0], fx.Node):
        return None
    post = ONEDNN_POST_OPERATIONS[name_of(node)]
    algorithm = str(node.kwargs.get("approximate", "none")) if post == "gelu" else ""
    return _product(graph, node.args[0], post, algorithm)


def _onednn_product(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A linear layer by oneDNN; often faster than BLAS."""
    return _product(graph, node, "none", "")


def _product(graph: fx.Graph, product: fx.Node, post: str, algorithm: str) -> fx.Node | None:
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    if name_of(product) == "linear":
        x, weight = product.args[0], product.args[1]
        bias = product.args[2] if len(product.args) > 2 else None
    elif name_of(product) == "addmm" and product.args[0].meta["val"].dim() == 1:  # type: ignore[union-attr]
        bias, x = product.args[0], product.args[1]
        weight = graph.call_function(aten.t.default, (product.args[2],))
    else:
        return None
    if product.meta["val"].dtype != torch.float32:
        return None
    return graph.call_function(
        torch.ops.mkldnn._linear_pointwise.default, (x, weight, bias, post, [], algorithm)
    )


def _embedding_bag(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Rows of a table, weighted and summed, as embedding_bag."""
    if name_of(node) != "sum" or list(node.args[1:]) not in ([[1]], [[-2]]) or node.kwargs:
        return None
    product = node.args[0]
    if not isinstance(product, fx.Node) or name_of(product) != "mul":
        return None
    rows, weights = product.args[0], product.args[1]
    if not isinstance(rows, fx.Node) or not isinstance(weights, fx.Node):
        return None
    if name_of(rows) not in ("embedding", "index") or weights.meta["val"].shape[-1:] != (1,):
        return None
    table, indices = rows.args[0], rows.args[1]
    if isinstance(indices, list | tuple):
        indices = indices[0]
    if weights.meta["val"].shape[:-1] != indices.meta["val"].shape:  # type: ignore[union-attr]
        return None
    flat = graph.call_function(aten.squeeze.dim, (weights, -1))
    bag = graph.call_function(
        torch.nn.functional.embedding_bag, (indices, table),
        {"mode": "sum", "per_sample_weights": flat},
    )  # fmt: skip
    return bag


RULES: Sequence[tuple[str, Rule]] = (
    ("scaled_dot_product_attention", _attention),
    ("embedding_bag", _embedding_bag),
)
CPU_RULES: Sequence[tuple[str, Rule]] = (
    ("oneDNN linear with its activation", _onednn_activated),
    ("oneDNN linear", _onednn_product),
)

PROPOSER = Library()
