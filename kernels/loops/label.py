"""What a graph is called, from the names of its operators."""

from __future__ import annotations

from collections.abc import Sequence

SILENT = frozenset((
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "squeeze", "unsqueeze",
    "expand", "expand_as", "transpose", "permute", "t", "slice", "select", "split", "chunk",
    "split_with_sizes", "contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as",
    "dropout", "full", "ones", "zeros", "scalar_tensor", "arange", "full_like", "unbind", "narrow",
    "broadcast_tensors",
))  # fmt: skip
NORMS = ("softmax", "log_softmax", "layer_norm", "rms_norm", "batch_norm", "group_norm")
MASKS = frozenset(("masked_fill", "where", "tril", "triu"))
COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "bitwise_not", "logical_not", "and"))
LONGEST = 5


def label(names: Sequence[str]) -> str:
    """The operation in the field's words: ``add + rms_norm``, ``softmax (masked)``, ``swiglu``."""
    kept = [name.strip("_") for name in names if name not in SILENT]
    distinct = set(kept)
    if "silu" in distinct and distinct <= {"silu", "mul"}:
        return "swiglu" if "mul" in distinct else "silu"
    if "cat" in distinct and distinct <= {"cat", "neg", "mul", "add", "sub", "stack"}:
        return "rotary embedding"
    if "stack" in distinct and distinct <= {"neg", "mul", "add", "sub", "stack"}:
        return "rotary embedding"
    kept = _named_norms(kept)
    norm = next((name for name in NORMS if name in kept), None)
    if norm is None:
        return f"elementwise chain: {_listed(kept)}" if _elementwise(kept) else _joined(kept)
    masked = bool(MASKS & distinct)
    kept = [name for name in kept if not masked or name not in MASKS | COMPARISONS]
    return _joined(kept) + (" (masked)" if masked else "")


def _named_norms(kept: list[str]) -> list[str]:
    """Norms written out as ``pow, mean, add, rsqrt, mul`` under their own names."""
    for written, name in (
        (("pow", "mean", "add", "rsqrt", "mul"), "rms_norm"),
        (("square", "mean", "add", "rsqrt", "mul"), "rms_norm"),
        (("mul", "mean", "add", "rsqrt", "mul"), "rms_norm"),
        (("amax", "sub", "exp", "sum", "div"), "softmax"),
    ):
        size = len(written)
        for at in range(len(kept) - size + 1):
            if tuple(kept[at : at + size]) == written:
                after = kept[at + size :]
                after = after[1:] if name == "rms_norm" and after[:1] == ["mul"] else after
                return [*kept[:at], name, *after]
    return kept


def _elementwise(kept: Sequence[str]) -> bool:
    reductions = {"sum", "mean", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod",
                  "linalg_vector_norm", "logsumexp", "any", "all"}  # fmt: skip
    return not any(name in reductions or name.endswith("_loss") for name in kept)


def _joined(kept: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(kept))
    return " + ".join(distinct[:LONGEST]) + (" ..." if len(distinct) > LONGEST else "")


def _listed(kept: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(kept)) or ["copy"]
    return ", ".join(distinct[:LONGEST]) + (", ..." if len(distinct) > LONGEST else "")
