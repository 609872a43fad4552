"""How a tensor looks, without its contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape, strides (in elements) and dtype name (as torch prints it, ``float32``)."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> TensorSpec:
        """The look of ``tensor``; its storage offset is not part of it."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        return cls(tuple(tensor.shape), tuple(tensor.stride()), dtype)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes from the first element to the last, gaps included."""
        import torch  # heavy; this record is also read where torch is absent

        itemsize = getattr(torch, self.dtype).itemsize
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return int(itemsize) * (last + 1) if self.numel else 0

    @property
    def contiguous_stride(self) -> tuple[int, ...]:
        """Strides that a row-major tensor of this shape has."""
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    def empty(self, device: str = "cpu") -> torch.Tensor:
        """A new tensor of this look with undefined contents."""
        import torch  # heavy; this record is also read where torch is absent

        dtype = getattr(torch, self.dtype)
        return torch.empty_strided(self.shape, self.stride, dtype=dtype, device=device)

    def as_json(self) -> dict[str, Any]:
        """The fields as lists and strings."""
        return {"shape": list(self.shape), "stride": list(self.stride), "dtype": self.dtype}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TensorSpec:
        """The inverse of `as_json`."""
        return cls(tuple(fields["shape"]), tuple(fields["stride"]), fields["dtype"])


def identical(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether both have the same shapes, dtypes and bits; strides may differ."""
    return len(some) == len(others) and all(
        a.shape == b.shape and a.dtype == b.dtype and _bytes(a).equal(_bytes(b))
        for a, b in zip(some, others, strict=True)
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    import torch  # heavy; the records above are also read where torch is absent

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def specs(tensors: Sequence[torch.Tensor]) -> tuple[TensorSpec, ...]:
    """The looks of several tensors."""
    return tuple(TensorSpec.of(tensor) for tensor in tensors)
