"""A kernel as an operator that PyTorch knows.

Each kernel becomes ``torch.ops.kernelite.k_<id>`` with an implementation, a
fake one (so that torch.compile and torch.export see shapes without running
it) and a gradient that recomputes the reference.  It is registered through
`torch.library.Library`, whose calls cost 3 µs where those of
`torch.library.custom_op` cost 9 µs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from kernelite.kernels.kernel import Entry
from kernelite.problems.tensors import TensorSpec

LIBRARY: Any = torch.library.Library("kernelite", "DEF")  # type: ignore[no-untyped-call]
CALLS: Counter[str] = Counter()
_known: dict[str, Any] = {}


def operator(
    name: str, entry: Entry, outputs: Sequence[TensorSpec], reference: fx.GraphModule
) -> Any:
    """The operator called ``name``, registered at its first use.

    Args:
        name: Unique for kernel and problem; ``CALLS[name]`` counts the kernel's runs.
        entry: The built kernel.
        outputs: How its outputs look.
        reference: Graph over the same arguments; its gradient is the operator's.
    """
    if name in _known:
        return _known[name]
    count = sum(node.op == "placeholder" for node in reference.graph.nodes)
    arguments = ", ".join(f"Tensor a{i}" for i in range(count))
    results = "Tensor" if len(outputs) == 1 else f"({', '.join(['Tensor'] * len(outputs))})"
    LIBRARY.define(f"{name}({arguments}) -> {results}")
    for device in ("CPU", "CUDA"):
        LIBRARY.impl(name, _implementation(name, entry, len(outputs) == 1), device)
    full = f"kernelite::{name}"
    torch.library.register_fake(full, _fake(outputs), lib=LIBRARY)
    torch.library.register_autograd(
        full, _backward(reference), setup_context=_keep_inputs, lib=LIBRARY
    )
    _known[name] = getattr(torch.ops.kernelite, name).default
    return _known[name]


def _implementation(name: str, entry: Entry, single: bool) -> Callable[..., Any]:
    def run(*arguments: torch.Tensor) -> Any:
        CALLS[name] += 1
        results = entry(arguments)
        return results[0] if single else tuple(results)

    return run


def _fake(outputs: Sequence[TensorSpec]) -> Callable[..., Any]:
    def shapes(*arguments: torch.Tensor) -> Any:
        made = tuple(
            arguments[0].new_empty_strided(o.shape, o.stride, dtype=getattr(torch, o.dtype))
            for o in outputs
        )
        return made[0] if len(made) == 1 else made

    return shapes


def _keep_inputs(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(reference: fx.GraphModule) -> Callable[..., Any]:
    """Gradients of the reference at the saved inputs."""

    def gradients(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        needed = ctx.needs_input_grad
        inputs = [
            t.detach().requires_grad_() if need else t.detach()
            for t, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            outputs = reference(*inputs)
        pairs = [
            (o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad
        ]
        wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True
            )
        )
        return tuple(next(found) if need else None for need in needed)

    return gradients
