"""Views as values: what each does to shapes, strides and axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Permute:
    """Axis ``i`` of the result is axis ``axes[i]``."""

    axes: Shape

    def shape(self, old: Shape) -> Shape:
        """Shape of the view of a tensor of shape ``old``."""
        return tuple(old[axis] for axis in self.axes)

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """Where ``axis`` ends up as a whole; None if it does not stay one axis."""
        return self.axes.index(axis)

    def resized(self, axis: int, size: int) -> View:
        """The same view of a tensor whose axis that becomes ``axis`` has ``size`` elements."""
        return self

    def first(self, count: int) -> View | None:
        """The same view of the first ``count`` axes; None if it touches others."""
        stays = all(axis == i for i, axis in enumerate(self.axes) if i >= count)
        return Permute(self.axes[:count]) if stays else None


@dataclass(frozen=True, slots=True)
class Expand:
    """Axes of size 1 repeat up to ``sizes``; the rank stays."""

    sizes: Shape

    def shape(self, old: Shape) -> Shape:
        """See `Permute.shape`."""
        return self.sizes

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """See `Permute.axis_after`."""
        return axis

    def resized(self, axis: int, size: int) -> View:
        """See `Permute.resized`."""
        return Expand((*self.sizes[:axis], size, *self.sizes[axis + 1 :]))

    def first(self, count: int) -> View | None:
        """See `Permute.first`; the caller knows that only the first axes change."""
        return Expand(self.sizes[:count])


@dataclass(frozen=True, slots=True)
class Slice:
    """``count`` elements of ``axis`` from ``start`` on, each ``step`` apart."""

    axis: int
    start: int
    step: int
    count: int

    def shape(self, old: Shape) -> Shape:
        """See `Permute.shape`."""
        return (*old[: self.axis], self.count, *old[self.axis + 1 :])

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """See `Permute.axis_after`."""
        return axis

    def resized(self, axis: int, size: int) -> View:
        """See `Permute.resized`; the concatenated axis itself is sliced elsewhere."""
        return self

    def first(self, count: int) -> View | None:
        """See `Permute.first`."""
        return self if self.axis < count else None


@dataclass(frozen=True, slots=True)
class Select:
    """Element ``index`` of ``axis``; the axis goes."""

    axis: int
    index: int

    def shape(self, old: Shape) -> Shape:
        """See `Permute.shape`."""
        return (*old[: self.axis], *old[self.axis + 1 :])

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """See `Permute.axis_after`."""
        return axis - (self.axis < axis)

    def resized(self, axis: int, size: int) -> View:
        """See `Permute.resized`."""
        return self

    def first(self, count: int) -> View | None:
        """See `Permute.first`."""
        return self if self.axis < count else None


@dataclass(frozen=True, slots=True)
class Unsqueeze:
    """A new axis of size 1 at ``axis``."""

    axis: int

    def shape(self, old: Shape) -> Shape:
        """See `Permute.shape`."""
        return (*old[: self.axis], 1, *old[self.axis :])

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """See `Permute.axis_after`."""
        return axis + (self.axis <= axis)

    def resized(self, axis: int, size: int) -> View:
        """See `Permute.resized`."""
        return self

    def first(self, count: int) -> View | None:
        """See `Permute.first`."""
        return self if self.axis <= count else None


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in row-major order under ``sizes``."""

    sizes: Shape

    def shape(self, old: Shape) -> Shape:
        """See `Permute.shape`."""
        return self.sizes

    def axis_after(self, axis: int, old: Shape) -> int | None:
        """See `Permute.axis_after`."""
        outer = prod(old[:axis])
        fits = (i for i, n in enumerate(self.sizes) if n == old[axis])
        return next((i for i in fits if prod(self.sizes[:i]) == outer), None)

    def resized(self, axis: int, size: int) -> View:
        """See `Permute.resized`."""
        return Reshape((*self.sizes[:axis], size, *self.sizes[axis + 1 :]))

    def first(self, count: int) -> View | None:
        """See `Permute.first`."""
        return None


View = Permute | Expand | Slice | Select | Unsqueeze | Reshape


def viewed_strides(view: View, shape: Shape, strides: Shape) -> tuple[Shape, int] | None:
    """Strides and added offset of ``view`` of a strided tensor; None if it needs a copy."""
    match view:
        case Permute(axes):
            return tuple(strides[axis] for axis in axes), 0
        case Expand(sizes):
            pairs = zip(shape, sizes, strides, strict=True)
            return tuple(s if old == new else 0 for old, new, s in pairs), 0
        case Slice(axis, start, step, _):
            scaled = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :])
            return scaled, start * strides[axis]
        case Select(axis, index):
            return (*strides[:axis], *strides[axis + 1 :]), index * strides[axis]
        case Unsqueeze(axis):
            return (*strides[:axis], 0, *strides[axis:]), 0
        case Reshape(sizes):
            found = reshaped_strides(shape, strides, sizes)
            return None if found is None else (found, 0)


def reshaped_strides(shape: Shape, strides: Shape, new: Sequence[int]) -> Shape | None:
    """Strides of a reshape without a copy; None if there is no such view."""
    if not prod(shape):
        return (0,) * len(new)
    runs: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    found: list[int] = []
    for size in reversed(new):
        if size == 1:
            found.append(0)
            continue
        while runs and runs[-1][0] == 1:
            runs.pop()
        if not runs or runs[-1][0] % size:
            return None
        left, stride = runs[-1]
        found.append(stride)
        runs[-1] = (left // size, stride * size)
    return tuple(reversed(found))
