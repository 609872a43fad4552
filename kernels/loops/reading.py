"""A flat graph as what is stored, and how its inputs and outputs look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import fx

from kernelite.kernels.loops.aten import Lowering, input_strides
from kernelite.kernels.loops.ir import Dag, Unsupported
from kernelite.kernels.loops.label import label
from kernelite.kernels.loops.nest import Store, plain
from kernelite.kernels.loops.ops import computed, name_of
from kernelite.problems.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Reading:
    """One graph.

    Attributes:
        label: What it computes, from the names of its operators.
        stores: Of every output that has elements, in parts that are no concatenation.
        inputs: Look of each, by the placeholder's name.
        outputs: The same, by ``out0``, ``out1`` and so on.
    """

    dag: Dag
    label: str
    stores: tuple[Store, ...]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def read(graph: fx.GraphModule, shifts: bool = False) -> Reading:
    """What a graph stores; ``shifts`` as `kernels.loops.aten.Lowering` has it.

    Raises:
        Unsupported: for anything that cannot be expressed, or an output that overlaps itself.
    """
    lowering = Lowering(shifts)
    results = lowering.graph(graph)
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    stores, outputs = list[Store](), dict[str, TensorSpec]()
    for index, (node, leaf) in enumerate(zip(results, output.args[0], strict=True)):
        val, name = leaf.meta["val"], f"out{index}"
        look = outputs[name] = _look(val)
        if look.stride != tuple(val.stride()):
            raise Unsupported("an output whose elements share memory")
        node = lowering.dag.cast(lowering.dag.expand(node, look.shape), computed(val.dtype))
        if prod(look.shape):
            whole = Store(name, look.dtype, node, look.shape, look.stride)
            stores += plain(lowering.dag, whole)
    inputs = {n.name: _look(n.meta["val"]) for n in graph.graph.nodes if n.op == "placeholder"}
    return Reading(lowering.dag, label(lowering.names), tuple(stores), inputs, outputs)


def _look(val: torch.Tensor) -> TensorSpec:
    return TensorSpec(tuple(map(int, val.shape)), input_strides(val), name_of(val.dtype))
