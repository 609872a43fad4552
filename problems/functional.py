"""A traced model without writes, so that data flow alone says what depends on what.

Writes such as ``relu_`` on a fresh result become the operator that returns a
new tensor.  Only if others remain is the whole program made functional by
PyTorch, because that also takes normalisations apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from kernelite.problems.operators import CONVOLUTIONS, is_fusible, is_gemm, name_of
from kernelite.problems.tensors import TensorSpec

PASSED_THROUGH = ("dropout", "feature_dropout", "to", "type_as", "_to_copy")
NORMS = ("batch_norm", "instance_norm")


def functional(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """``program``, or an equal one that writes to nothing but what its signature names."""
    position = {node: index for index, node in enumerate(program.graph.nodes)}
    for node in program.graph.nodes:
        if _writes(node) and (target := _without_write(node, position)) is not None:
            node.target = target
    nested = any(isinstance(m, fx.GraphModule) for _, m in program.graph_module.named_children())
    if nested or any(map(_writes, program.graph.nodes)):
        program = program.run_decompositions({})
    return program


def _writes(node: fx.Node) -> bool:
    target: Any = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return False
    # In training these write to their statistics, which their schemas do not say.
    return target._schema.is_mutable or (
        name_of(node) in NORMS and node.args[3] is not None and node.args[5] is True
    )


def _without_write(node: fx.Node, position: dict[fx.Node, int]) -> Any:
    """The operator that returns what ``node`` writes, if nothing else sees the write."""
    overload: Any = node.target
    name, written = name_of(node), node.args[0]
    if not name.endswith("_") or name in NORMS or not isinstance(written, fx.Node):
        return None
    if not _is_fresh(written) or any(position[user] > position[node] for user in written.users):
        return None
    if not all(_is_fresh(user) for user in written.users if user is not node):
        return None
    target = getattr(getattr(torch.ops.aten, name[:-1], None), overload._overloadname, None)
    if target is None:
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
    same = TensorSpec.of(target(*args, **kwargs)) == TensorSpec.of(node.meta["val"])
    return target if same else None


def _is_fresh(node: fx.Node) -> bool:
    """Whether the node's result lies in memory that no other tensor shares."""
    if name_of(node) in PASSED_THROUGH:
        return False
    return is_gemm(node) or name_of(node) in CONVOLUTIONS or is_fusible(node)
