"""Other values for drawn inputs: what kernels that fit one distribution stumble over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _wide(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Magnitudes spread over six decades, signs kept."""
    own = torch.empty(tensor.shape, dtype=tensor.dtype)
    factor = 10 ** (own.uniform_(generator=generator) * 6 - 4)
    return as_laid_out(tensor, tensor * factor)


def _outliers(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One element in a thousand, at least one, fifty times as large."""
    own = torch.rand(tensor.shape, generator=generator) < 1e-3
    own.view(-1)[:1] = True
    return as_laid_out(tensor, torch.where(own, tensor * 50, tensor))


def _shifted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mean far from zero, where a one-pass variance loses its digits."""
    return as_laid_out(tensor, tensor * 3 + 100)


def _far(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """So far up that an exponential without its maximum overflows."""
    return as_laid_out(tensor, tensor + 1e4)


def _far_below(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """So far down that every exponential without its maximum is zero."""
    return as_laid_out(tensor, tensor - 1e4)


def _equal_rows(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each row holds one value: its variance is zero, its maximum is everywhere."""
    if tensor.dim() == 0:
        return tensor.clone()
    return as_laid_out(tensor, tensor[..., :1].expand_as(tensor))


def _one_huge(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One element outweighs all others together."""
    changed = tensor.contiguous().clone()
    if changed.numel():
        place = int(torch.randint(changed.numel(), (), generator=generator))
        changed.view(-1)[place] = 1e4 * tensor.abs().max().clamp(min=1.0)
    return as_laid_out(tensor, changed)


def _denormal(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Below the smallest normal number of the type."""
    return as_laid_out(tensor, tensor * (torch.finfo(tensor.dtype).tiny / 16))


def as_laid_out(like: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``values`` with the strides of ``like``."""
    if 0 in like.stride():
        return values
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).copy_(values)


#: Judged like drawn inputs.
ORDINARY: Mapping[str, Change] = {"wide": _wide, "outliers": _outliers, "shifted": _shifted}
#: Judged with more room for error: what is asked is that nothing overflows, divides by zero or
#: cancels where the reference does not.
EXTREME: Mapping[str, Change] = {
    "far": _far, "far below": _far_below, "equal rows": _equal_rows, "one huge": _one_huge,
    "denormal": _denormal,
}  # fmt: skip
