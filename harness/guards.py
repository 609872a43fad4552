"""Memory with known bytes on both sides, to see who writes beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernelite.problems.tensors import TensorSpec

GUARD_BYTES = 64  # keeps what lies between as aligned as PyTorch's own memory
PATTERN = 0xA5


def guarded(
    spec: TensorSpec, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """An uninitialised tensor of this look, and the guards around it; on the CPU if None."""
    size = -(-spec.nbytes // 8) * 8  # whole elements of any dtype
    whole = GUARD_BYTES + size + GUARD_BYTES
    buffer = torch.empty(whole, dtype=torch.uint8, device=device).fill_(PATTERN)
    dtype: torch.dtype = getattr(torch, spec.dtype)
    inside = buffer[GUARD_BYTES : GUARD_BYTES + size].view(dtype)
    return inside.as_strided(spec.shape, spec.stride), buffer


def around(buffers: Sequence[torch.Tensor], specs: Sequence[TensorSpec]) -> torch.Tensor:
    """The bytes of all guards, one after another."""
    sides = [
        side
        for buffer, spec in zip(buffers, specs, strict=True)
        for side in (buffer[:GUARD_BYTES], buffer[GUARD_BYTES + spec.nbytes :])
    ]
    return torch.cat(sides) if sides else torch.empty(0, dtype=torch.uint8)


def intact(guards: torch.Tensor) -> bool:
    """Whether nobody wrote there."""
    return guards.dtype == torch.uint8 and bool((guards == PATTERN).all())
