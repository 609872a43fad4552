"""From a flat graph of ATen operators to tensor expressions.

Handlers are found by the operator's name; an operator without one is
decomposed by torch and its parts are looked up.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from kernelite.kernels.loops import math, rows, shapes
from kernelite.kernels.loops.call import Call
from kernelite.kernels.loops.ir import Dag, Node, Unsupported
from kernelite.kernels.loops.ops import Ops, computed, name_of
from kernelite.problems.tensors import TensorSpec

HANDLERS = {**shapes.HANDLERS, **math.HANDLERS, **rows.HANDLERS}
ROUNDING = ("bernoulli", "rand", "randn", "randint", "multinomial", "native_dropout")
VIEWS = ("view", "reshape", "transpose", "permute", "select", "slice", "expand", "unsqueeze",
         "squeeze", "split", "chunk", "t", "unbind", "narrow", "flatten", "unflatten")  # fmt: skip
DEPTH = 4


def input_strides(val: torch.Tensor) -> tuple[int, ...]:
    """Strides to read an input with: its own, unless elements share memory."""
    shared = any(s == 0 and n > 1 for n, s in zip(val.shape, val.stride(), strict=True))
    return TensorSpec.of(val).contiguous_stride if shared else tuple(val.stride())


class Lowering:
    """Reads one graph.

    Args:
        shifts: Whether means must be exact where sums in float32 are not.

    Attributes:
        dag: The nodes made.
        names: ATen operators met, in order: what the label is made of.
    """

    def __init__(self, shifts: bool = False) -> None:
        self.dag = Dag()
        self.ops = Ops(self.dag, shifts)
        self.names: list[str] = []

    def graph(self, graph: fx.GraphModule) -> list[Node]:
        """The outputs of a flat graph, as nodes.

        Raises:
            Unsupported: for anything that cannot be expressed.
        """
        given = [self._input(n) for n in graph.graph.nodes if n.op == "placeholder"]
        outputs = self._run(graph, given, 0)
        if not all(isinstance(node, Node) for node in outputs):
            raise Unsupported("an output that is not computed")
        return outputs

    def _input(self, node: fx.Node) -> Node | None:
        val = node.meta["val"]
        if not isinstance(val, torch.Tensor) or not node.users:
            return None
        dtype = computed(val.dtype)
        shape = tuple(map(int, val.shape))
        return self.dag.load(node.name, dtype, name_of(val.dtype), shape, input_strides(val))

    def _run(self, graph: fx.GraphModule, given: Sequence[Any], depth: int) -> list[Any]:
        known: dict[fx.Node, Any] = {}
        feed = iter(given)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                known[node] = next(feed)
            elif node.op == "get_attr":
                known[node] = self._constant(_attribute(graph, str(node.target)))
            elif node.op == "output":
                leaves = node.args[0] if isinstance(node.args[0], tuple | list) else node.args
                return [known[leaf] if isinstance(leaf, fx.Node) else leaf for leaf in leaves]
            else:
                known[node] = self._call(node, known, depth)
        raise Unsupported("a graph without an output")

    def _constant(self, tensor: Any) -> Node:
        if not isinstance(tensor, torch.Tensor) or tensor.numel() != 1:
            raise Unsupported("a constant tensor of several elements")
        return self.dag.const(tensor.item(), computed(tensor.dtype), tuple(tensor.shape))

    def _call(self, node: fx.Node, known: dict[fx.Node, Any], depth: int) -> Any:
        if node.target is operator.getitem:
            sequence, index = node.args
            return known[sequence][index]  # type: ignore[index]
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Unsupported(f"call of {node.target}")
        space, name = node.target._schema.name.split("::")
        if space not in ("aten", "prims"):
            raise Unsupported(f"operator {space}::{name}")
        in_place = name.endswith("_") and not name.startswith("__")
        if in_place:
            self._check_in_place(node)
            name = name.rstrip("_")
        if depth == 0:
            self.names.append(name)
        named = {key: fx.map_arg(v, known.__getitem__) for key, v in _bound(node).items()}
        if any(value is True for key, value in named.items() if key in ("train", "training")) and (
            "dropout" in name
        ):
            raise Unsupported("dropout in training")
        handler = HANDLERS.get(name)
        if handler is not None:
            result = handler(Call(self.ops, named, node.meta.get("val")))
        else:
            result = self._decomposed(node, name, known, depth)
        if in_place:
            known[node.args[0]] = result  # type: ignore[index]
        return result

    def _check_in_place(self, node: fx.Node) -> None:
        """An in-place write is an assignment only if nothing else shares the memory."""
        target = node.args[0]
        views = [target, *target.users] if isinstance(target, fx.Node) else []
        shared = any(getattr(n.target, "_schema", None) is not None
                     and n.target._schema.name.removeprefix("aten::") in VIEWS  # type: ignore[union-attr]
                     for n in views)  # fmt: skip
        if not views or shared or target.op == "placeholder":  # type: ignore[union-attr]
            raise Unsupported("a write to memory that is shared")

    def _decomposed(self, node: fx.Node, name: str, known: dict[fx.Node, Any], depth: int) -> Any:
        """The parts of an operator without a handler."""
        if depth >= DEPTH or any(word in name for word in ROUNDING):
            raise Unsupported(f"operator {name}")
        tensors = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), torch.Tensor)]
        metas = [torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device="meta")
                 for v in (n.meta["val"] for n in tensors)]  # fmt: skip

        def function(*values: torch.Tensor) -> Any:
            swap = dict(zip(tensors, values, strict=True))
            args: Any = fx.map_arg(node.args, swap.__getitem__)
            kwargs: Any = fx.map_arg(node.kwargs, swap.__getitem__)
            return node.target(*args, **kwargs)  # type: ignore[operator]

        try:
            table: Any = core_aten_decompositions()
            parts = make_fx(function, decomposition_table=table)(*metas)
        except Exception as error:  # a decomposition may raise anything
            raise Unsupported(f"operator {name}: {error}") from error
        calls = [n for n in parts.graph.nodes if n.op == "call_function"]
        if len(calls) == 1 and calls[0].target == node.target:
            raise Unsupported(f"operator {name}")
        for part in calls:
            part.meta.setdefault("val", part.meta.get("tensor_meta"))
        results = self._run(parts, [known[n] for n in tensors], depth + 1)
        return results[0] if isinstance(node.meta.get("val"), torch.Tensor) else results


def _attribute(graph: fx.GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _bound(node: fx.Node) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    named = {a.name: a.default_value for a in schema if a.has_default_value()}
    named |= {a.name: value for a, value in zip(schema, node.args, strict=False)}
    return named | dict(node.kwargs)
