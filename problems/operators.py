"""Which ATen operators can share a kernel, which are views, which are library calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

VIEWS = frozenset(
    """view reshape transpose permute unsqueeze squeeze expand slice select split chunk t
    flatten unflatten split_with_sizes detach alias expand_as view_as narrow movedim unbind
    swapaxes swapdims contiguous""".split()
)
GEMMS = frozenset("linear mm bmm addmm baddbmm matmul dot mv einsum".split())
CONVOLUTIONS = frozenset("conv1d conv2d conv3d convolution".split())
ROWWISE = frozenset(
    """softmax log_softmax layer_norm rms_norm batch_norm sum mean amax amin var std
    dropout feature_dropout cross_entropy_loss nll_loss nll_loss_nd embedding embedding_bag
    logsumexp to _to_copy type_as clone where masked_fill full_like ones_like zeros_like
    softplus glu gather rsub group_norm index""".split()
)
CREATORS = frozenset(
    "arange full ones zeros scalar_tensor tril triu empty new_ones new_zeros new_full".split()
)


def name_of(node: fx.Node) -> str:
    """The operator's base name, ``softmax`` for ``aten.softmax.int``; empty for no operator."""
    target: Any = node.target
    if node.op != "call_function":
        return ""
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2]
    return str(getattr(target, "__name__", ""))


def copies(node: fx.Node) -> bool:
    """Whether the node only re-orders or repeats data, but must copy it to do so."""
    name = name_of(node)
    if name in ("repeat_interleave", "repeat"):
        return True
    if name not in ("reshape", "flatten", "contiguous", "clone"):
        return False
    source, result = node.all_input_nodes[0].meta["val"], node.meta["val"]
    if name in ("contiguous", "clone"):
        return not bool(source.is_contiguous())
    bare = torch.empty_strided(source.shape, source.stride(), device="meta")
    try:
        bare.view(result.shape)
    except RuntimeError:
        return True
    return False


def is_view(node: fx.Node) -> bool:
    """Whether the node moves no data (or only re-orders it for its reader)."""
    return name_of(node) in VIEWS or name_of(node) == "getitem"


def is_gemm(node: fx.Node) -> bool:
    """Whether the node is a dense product."""
    return name_of(node) in GEMMS


def is_fusible(node: fx.Node) -> bool:
    """Whether the node can share a kernel with its neighbours."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    if name_of(node) == "cat":
        return _rotates(node)
    if name_of(node) == "index":
        return _looks_up_rows(node)
    return torch.Tag.pointwise in target.tags or name_of(node) in ROWWISE


def _looks_up_rows(node: fx.Node) -> bool:
    """Whether an ``index`` takes whole rows of a table, as an embedding does."""
    table, indices = node.args[0], node.args[1]
    known = isinstance(table, fx.Node) and table.meta["val"].dim() == 2
    return known and isinstance(indices, list | tuple) and len(indices) == 1


def _rotates(node: fx.Node) -> bool:
    """Whether a ``cat`` puts together few parts of one row, as rotary embeddings do."""
    parts = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else 0
    rank = node.meta["val"].dim()
    return isinstance(parts, list | tuple) and len(parts) <= 3 and axis in (-1, rank - 1)
