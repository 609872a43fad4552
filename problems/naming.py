"""Names for pieces of a model that an engineer recognises."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from kernelite.problems.operators import is_gemm, is_view, name_of

FAMILIES: Sequence[tuple[frozenset[str], str]] = (
    (frozenset({"cross_entropy_loss"}), "cross_entropy"),
    (frozenset({"layer_norm"}), "layer_norm"),
    (frozenset({"rms_norm"}), "rms_norm"),
    (frozenset({"rsqrt", "mean"}), "rms_norm"),
    (frozenset({"batch_norm"}), "batch_norm"),
    (frozenset({"softmax"}), "softmax"),
    (frozenset({"neg", "cat"}), "rotary"),
    (frozenset({"silu", "mul"}), "swiglu"),
    (frozenset({"embedding", "sum"}), "embedding_bag"),
    (frozenset({"index", "sum"}), "embedding_bag"),
    (frozenset({"embedding"}), "embedding"),
    (frozenset({"tanh", "pow"}), "gelu_tanh"),
)
MOST_WORDS = 3


def label_of(kind: str, graph: fx.GraphModule) -> str:
    """What a region computes: ``add+rms_norm``, ``attention``, ``linear+gelu``."""
    nodes = [n for n in graph.graph.nodes if n.op == "call_function" and not is_view(n)]
    names = [name_of(node) for node in nodes]
    if kind == "attention":
        return kind
    if any(is_gemm(node) for node in nodes) or kind == "convolution":
        return "+".join(names[:2])
    for needed, word in FAMILIES:
        if needed <= set(names):
            first = names[0] if names[0] in ("add", "mul") and word.endswith("_norm") else ""
            return f"{first}+{word}" if first else word
    words = list(dict.fromkeys(names))
    return "+".join(words[:MOST_WORDS]) + ("+…" if len(words) > MOST_WORDS else "")


def common_name(paths: Sequence[str]) -> str:
    """One name for many module paths: parts that differ become ``*``."""
    split = [path.split(".") for path in dict.fromkeys(paths)]
    shortest = min(len(parts) for parts in split)
    columns = zip(*(parts[:shortest] for parts in split), strict=True)
    return ".".join(column[0] if len(set(column)) == 1 else "*" for column in columns)


def identifier(*words: str) -> str:
    """The words as one Python identifier."""
    text = "_".join("".join(c if c.isalnum() else "_" for c in word) for word in words if word)
    return "_".join(filter(None, text.split("_")))
