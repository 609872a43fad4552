"""A model as one flat graph of ATen operators.

`trace` is how everything that reads a model sees it: profile, partition,
templates.  The graph has one placeholder per flat argument, in the order that
`problems.problem` fixes, and one tuple of tensors as its output; each node
carries a fake tensor with real strides in ``meta["val"]``, and a placeholder
that stands for state has the state's name in ``meta["state"]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from kernelite.errors import KerneliteError
from kernelite.problems.functional import functional

NOISE = ("_guards", "sym_constrain", "_assert", "lift_fresh_copy", "alias.default")


class NotTraceable(KerneliteError):
    """The model cannot be written as one graph; the text says why."""


@dataclass(frozen=True, slots=True)
class Constant:
    """An output of a model that is no tensor."""

    value: Any


def trace(
    model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> torch.export.ExportedProgram:
    """Export ``model`` for these inputs; undecomposed but for nested graphs and writes.

    Raises:
        NotTraceable: data-dependent control flow, unknown outputs and the like.
    """
    try:
        with torch.no_grad():
            program = torch.export.export(model, tuple(args), dict(kwargs or {}), strict=False)
            program = functional(program)
    except Exception as error:  # export raises whatever the model's code does
        line = (str(error).strip().splitlines() or ["no message"])[0]
        raise NotTraceable(f"{type(error).__name__}: {line[:200]}") from error
    if program.range_constraints:
        raise NotTraceable("sizes or numbers in it depend on the values of tensors")
    return program


def flat_graph(
    model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> fx.GraphModule:
    """The graph of ``model`` over its flat arguments (see the module's docstring).

    ``meta["leaves"]`` holds the model's output leaves, an index into the graph's
    outputs for each tensor and the constant itself otherwise, and
    ``meta["out_spec"]`` the tree that they form.

    Raises:
        NotTraceable: it cannot be exported, or writes to its state.
    """
    program = trace(model, args, kwargs)
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise NotTraceable("the model writes to its buffers or inputs")
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = {**signature.inputs_to_lifted_tensor_constants}
    source, holders = program.graph, {n.name: n for n in program.graph.nodes}
    graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
    module = fx.GraphModule(torch.nn.Module(), graph)
    inputs = [n for n in source.nodes if n.op == "placeholder" and n.name in signature.user_inputs]
    by_name = {target: holders[name] for name, target in targets.items()}
    state = [(name, by_name.get(name)) for name in model.state_dict()]
    for index, node in enumerate(n for n in inputs if isinstance(n.meta.get("val"), torch.Tensor)):
        new[node] = _placeholder(graph, f"in{index}", node.meta["val"])
    for offset, (name, holder) in enumerate(state, start=len(new)):
        value = holder.meta["val"] if holder is not None else model.state_dict()[name]
        fresh = _placeholder(graph, f"in{offset}", value)
        fresh.meta["state"] = name
        if holder is not None:
            new[holder] = fresh
    for node in source.nodes:
        if node.op == "placeholder" and node not in new:
            constant = constants.get(node.name) or targets.get(node.name)
            if constant is not None and node.users:
                attribute = f"constant{len(new)}_" + constant.replace(".", "_")
                module.register_buffer(attribute, _constant(program, constant))
                new[node] = graph.get_attr(attribute)
                new[node].meta = {**node.meta, "state": constant}
    module.meta["leaves"] = _copy_body(source, graph, new)
    module.meta["out_spec"] = program.call_spec.out_spec
    module.graph = graph
    module.recompile()
    return module


def _constant(program: torch.export.ExportedProgram, name: str) -> torch.Tensor:
    value = program.constants.get(name, program.state_dict.get(name))
    if not isinstance(value, torch.Tensor):
        raise NotTraceable(f"constant {name} is not a tensor")
    return value.detach()


def _placeholder(graph: fx.Graph, name: str, value: torch.Tensor) -> fx.Node:
    node = graph.placeholder(name)
    node.meta["val"] = value
    return node


def _copy_body(source: fx.Graph, graph: fx.Graph, new: dict[fx.Node, fx.Node]) -> list[Any]:
    """Copy the calls of ``source``; drop guards; return the output leaves."""
    leaves: list[Any] = []
    for node in source.nodes:
        if node.op == "placeholder" or any(word in str(node.target) for word in NOISE[:3]):
            continue
        if node.op == "output":
            tensors: list[fx.Node] = []
            for leaf in pytree.tree_leaves(node.args[0], is_leaf=lambda x: x is None):
                leaves.append(len(tensors) if isinstance(leaf, fx.Node) else Constant(leaf))
                tensors += [new[leaf]] if isinstance(leaf, fx.Node) else []
            graph.output(tuple(tensors))
        elif any(word in str(node.target) for word in NOISE[3:]):
            new[node] = new[node.all_input_nodes[0]]
        else:
            new[node] = graph.node_copy(node, lambda old: new[old])
    graph.eliminate_dead_code()
    return leaves
