"""What host code is told of a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from kernelite.kernels.matching.cross_entropy import Loss
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.source import Source
from kernelite.kernels.triton_templates._views import viewed


def by_rows(source: Source) -> str:
    """The text of a view with two axes of rows in front."""
    name, (rows, *rest) = source.root.name, source.layout.dims
    if len(rows) < 2:
        return f"{viewed(name, source.root, source.layout)}[None]"
    split = Layout((rows[:1], rows[1:], *rest), source.layout.offset)
    return viewed(name, source.root, split)


def reduction(loss: Loss) -> str:
    """How the rows' losses become one."""
    if not loss.reduces:
        return "none"
    return "mean" if loss.divides_by_kept else "sum"


def called(
    function: str, loss: Loss, out: torch.Tensor, given: Sequence[str], views: Sequence[str],
    numbers: Mapping[str, object],
) -> str:  # fmt: skip
    """The text of ``run`` for the arguments ``given``.

    Args:
        function: What it calls.
        loss: What is computed.
        out: What the loss looks like.
        given: Names of the arguments.
        views: Host code of what the function takes.
        numbers: What it takes by name besides.
    """
    facts = {
        "dtype": out.dtype, "scale": loss.logits.scale, "factor": loss.scale,
        "ignored": loss.ignored, "wraps": loss.wraps, "reduces": loss.reduces,
        "divides": loss.divides_by_kept, **numbers,
    }  # fmt: skip
    lines = [*views, *(f"{name}={value}" for name, value in facts.items())]
    shape = "" if loss.reduces or out.dim() == 1 else f".view({tuple(out.shape)})"
    call = "".join(f"        {line},\n" for line in lines)
    return f"def run({', '.join(given)}):\n    return {function}(\n{call}    ){shape}"
