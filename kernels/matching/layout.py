"""Index arithmetic: where the elements of a view lie in another tensor's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, prod

Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each element of a tensor lies in another tensor's memory.

    Attributes:
        dims: Per dimension its factors, outermost first: (size, stride in elements).
            A repeated or merged dimension has several; a dimension of size 1 has none.
        offset: Position of the first element, in elements.
    """

    dims: tuple[Factors, ...]
    offset: int = 0

    @classmethod
    def strided(cls, shape: Sequence[int], stride: Sequence[int], offset: int = 0) -> Layout:
        """The layout of a plain tensor."""
        pairs = zip(shape, stride, strict=True)
        return cls(tuple(((n, step),) if n > 1 else () for n, step in pairs), offset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        return tuple(prod(size for size, _ in factors) for factors in self.dims)

    def regrouped(self, shape: Sequence[int]) -> Layout | None:
        """The same elements in the same order under another shape; None if it cuts unevenly."""
        dims = regroup([factor for factors in self.dims for factor in factors], shape)
        return None if dims is None else Layout(dims, self.offset)

    def permuted(self, order: Sequence[int]) -> Layout:
        """The layout with its dimensions in another order."""
        return Layout(tuple(self.dims[axis] for axis in order), self.offset)

    def expanded(self, shape: Sequence[int]) -> Layout:
        """The layout broadcast to ``shape`` by torch's rules."""
        own = ((),) * (len(shape) - len(self.dims)) + self.dims
        dims = (f or (((n, 0),) if n > 1 else ()) for f, n in zip(own, shape, strict=True))
        return Layout(tuple(dims), self.offset)

    def repeated(self, axis: int, times: int) -> Layout:
        """Each index of one dimension ``times`` times in a row."""
        dims = list(self.dims)
        dims[axis] = (*dims[axis], (times, 0)) if times > 1 else dims[axis]
        return Layout(tuple(dims), self.offset)

    def picked(self, view: Layout) -> Layout | None:
        """The elements that ``view`` picks by their row-major numbers; None if uneven."""
        factors = [factor for factors in self.dims for factor in factors]
        offset, last, number = self.offset, list[int](), view.offset
        for size, stride in reversed(factors):
            last.insert(0, number % size)
            offset += number % size * stride
            number //= size
        dims = tuple(_compose(own, factors, last) for own in view.dims)
        inside = all(used < size for used, (size, _) in zip(last, factors, strict=True))
        good = tuple(own for own in dims if own is not None)
        return Layout(good, offset) if inside and not number and len(good) == len(dims) else None

    def step(self, axis: int) -> int | None:
        """The one stride of a dimension, 0 if its size is 1; None if it has several."""
        factors = self.dims[axis]
        return None if len(factors) > 1 else factors[0][1] if factors else 0


def _compose(view: Factors, factors: Sequence[tuple[int, int]], last: list[int]) -> Factors | None:
    """Strides of ``view``, given over row-major numbers; adds to the ``last`` digits reached."""
    found: list[tuple[int, int]] = []
    for count, step in view:
        if step == 0:
            found.append((count, 0))
            continue
        own: list[tuple[int, int]] = []
        for position, (size, stride) in reversed(list(enumerate(factors))):
            if step >= size and step % size == 0:
                step //= size
                continue
            here = min(count, -(-size // step))
            if here < count and (size % step or count % here):
                return None
            own.insert(0, (here, stride * step))
            last[position] += (here - 1) * step
            count, step = count // here, 1
            if count == 1:
                break
        if count > 1:
            return None
        found += [factor for factor in own if factor[0] > 1]
    return tuple(found)


def regroup(factors: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[Factors, ...] | None:
    """Distribute factors, outermost first, over dimensions; None if one would be cut unevenly."""
    merged: list[tuple[int, int]] = []
    for size, stride in factors:
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        elif size != 1:
            merged.append((size, stride))
    dims = []
    for wanted in shape:
        own: list[tuple[int, int]] = []
        while wanted > 1:
            if not merged:
                return None
            size, stride = merged.pop(0)
            if wanted % size == 0:
                own.append((size, stride))
                wanted //= size
            elif size % wanted == 0:
                own.append((wanted, stride * (size // wanted)))
                merged.insert(0, (size // wanted, stride))
                wanted = 1
            else:
                return None
        dims.append(tuple(own))
    return None if merged else tuple(dims)


def index(factors: Factors, name: str) -> str:
    """C++ for the memory offset of the row-major index ``name`` into ``factors``."""
    terms, inner = [], 1
    for position, (size, stride) in reversed(list(enumerate(factors))):
        digit = f"{name} / {inner}" if inner > 1 else name
        digit = f"({digit}) % {size}" if position else f"({digit})"
        terms.append(f"({digit}) * {stride}l")
        inner *= size
    return " + ".join(terms) or "0l"


def literal(value: float) -> str:
    """``value`` as a C++ float literal (with prelude.h's names for the special ones)."""
    if isnan(value):
        return "kl_nan"
    if value in (inf, -inf):
        return "kl_inf" if value > 0 else "(-kl_inf)"
    return f"({float(value)!r}f)"
