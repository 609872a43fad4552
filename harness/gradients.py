"""Gradients of a function of flat arguments, for given cotangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Function = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]


def of(
    function: Function, arguments: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """One gradient per float argument; zeros where the function does not depend on it.

    ``cotangents`` holds one per float output, of its shape and dtype.
    """
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in arguments]
    with torch.enable_grad():
        outputs = [out for out in function(leaves) if out.is_floating_point()]
        floats = [leaf for leaf in leaves if leaf.requires_grad]
        found = torch.autograd.grad(
            [out for out in outputs if out.requires_grad],
            floats,
            [c for c, out in zip(cotangents, outputs, strict=True) if out.requires_grad],
            allow_unused=True,
        )
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(floats, found, strict=True)
    ]
