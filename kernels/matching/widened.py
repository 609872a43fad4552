"""A graph as it would be were every number in it a float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

HALVES = (torch.float16, torch.bfloat16)


def widened(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy whose half-precision tensors are called float32; shapes and strides are kept.

    ``meta["memory"]`` has what ``meta["val"]`` was.

    Who matches in it finds what kernels for half precision compute, too: they keep float32
    from their loads to their stores and so leave the roundings between operators out.
    """
    found = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        copies[node] = found.node_copy(node, copies.__getitem__)
        value = node.meta.get("val")
        copies[node].meta = {**node.meta, "val": _wide(value), "memory": value}
    return fx.GraphModule(graph, found)


def _wide(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(_wide, value))
    if not isinstance(value, torch.Tensor) or value.dtype not in HALVES:
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=torch.float32, device="meta")
