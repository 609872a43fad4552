"""The part of a graph that lies behind some of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from kernelite.kernels.matching.product import Product

ATEN = torch.ops.aten


def behind(node: fx.Node, given: Mapping[fx.Node, str], products: Mapping[fx.Node, Product]) -> (
    fx.GraphModule
):  # fmt: skip
    """What makes ``node`` of arguments, of ``given`` nodes and of bare ``products``.

    ``given`` nodes become placeholders of these names, products ``product0`` and so on; what a
    product is scaled with and what is added to it belongs to the part behind.
    """
    needed = _needed(node, {*given, *products}, products)
    found, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    bare = {own: _placeholder(found, f"product{i}", own) for i, own in enumerate(products)}
    for each in node.graph.nodes:
        if each not in needed:
            continue
        if each in products:
            copies[each] = _completed(found, each, bare[each], products[each], copies)
        elif each in given or each.op == "placeholder":
            copies[each] = _placeholder(found, given.get(each, each.name), each)
        else:
            copies[each] = found.node_copy(each, copies.__getitem__)
    found.output((copies[node],))
    return fx.GraphModule(node.graph.owning_module or torch.nn.Module(), found)


def _needed(
    node: fx.Node, ends: set[fx.Node], products: Mapping[fx.Node, Product]
) -> set[fx.Node]:  # fmt: skip
    seen, ahead = {node}, [node]
    while ahead:
        here = ahead.pop()
        offset = products[here].offset if here in products else None
        inputs = [offset] if offset else [] if here in ends else here.all_input_nodes
        ahead += [each for each in inputs if each not in seen]
        seen.update(inputs)
    return seen


def _placeholder(graph: fx.Graph, name: str, like: fx.Node) -> fx.Node:
    made = graph.placeholder(name)
    made.meta = {"val": like.meta["val"]}
    return made


def _completed(
    graph: fx.Graph, like: fx.Node, bare: fx.Node, product: Product, copies: Mapping[Any, fx.Node]
) -> fx.Node:  # fmt: skip
    """``scale * bare + offset_scale * offset``."""
    steps: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    if product.scale != 1:
        steps.append((ATEN.mul.Tensor, (product.scale,), {}))
    if product.offset is not None:
        scale = {} if product.offset_scale == 1 else {"alpha": product.offset_scale}
        steps.append((ATEN.add.Tensor, (copies[product.offset],), scale))
    for target, others, named in steps:
        bare = graph.call_function(target, (bare, *others), named)
        bare.meta = {"val": like.meta["val"]}
    return bare
