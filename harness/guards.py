"""Memory with known bytes on both sides, to see who writes beside it."""

from __future__ import annotations

import torch

from kernelite.problems.tensors import TensorSpec

GUARD_BYTES = 64  # keeps what lies between as aligned as PyTorch's own memory
PATTERN = 0xA5


class Guards:
    """Tensors of one call on one device, and what lies around them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.held: list[tuple[torch.Tensor, TensorSpec]] = []

    def tensor(self, spec: TensorSpec) -> torch.Tensor:
        """An uninitialised tensor of this look."""
        size = -(-spec.nbytes // 8) * 8  # whole elements of any dtype
        whole = GUARD_BYTES + size + GUARD_BYTES
        buffer = torch.empty(whole, dtype=torch.uint8, device=self.device).fill_(PATTERN)
        self.held.append((buffer, spec))
        inside = buffer[GUARD_BYTES : GUARD_BYTES + size].view(getattr(torch, spec.dtype))
        return inside.as_strided(spec.shape, spec.stride)

    def poisoned(self, spec: TensorSpec) -> torch.Tensor:
        """One in which every element that a kernel does not write shows."""
        tensor = self.tensor(spec)
        if tensor.is_floating_point() or tensor.is_complex():
            return tensor.fill_(float("nan"))
        return tensor.fill_(True) if tensor.dtype == torch.bool else tensor.fill_(113)

    def around(self) -> torch.Tensor:
        """The bytes around all of them, one after another."""
        sides = [
            side
            for buffer, spec in self.held
            for side in (buffer[:GUARD_BYTES], buffer[GUARD_BYTES + spec.nbytes :])
        ]
        return torch.cat(sides) if sides else torch.empty(0, dtype=torch.uint8)


def intact(guards: torch.Tensor) -> bool:
    """Whether nobody wrote there."""
    return guards.dtype == torch.uint8 and bool((guards == PATTERN).all())
