"""What the inputs of timed calls hold: for each call something else, all of it.

Judge and runner make the same contents of the same draws, side by side in a
pool, and of one seed, which the runner gets with the request to time.  How far
contents may leave what the problem drew follows from the draws themselves:

    free   floats without a pattern: any window of the pool, so no row and no
           column of a call is one of the call before
    rows   indices, masks, normalised rows: whole rows of the pool, turned where
           each column holds what the others may hold
    whole  sorted rows, symmetric matrices: one of the draws as it is
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from kernelite.problems.tensors import TensorSpec

Write = Callable[[int, int], object]
Place = Callable[[torch.Tensor], torch.Tensor]

FREE, ROWS, WHOLE = "free", "rows", "whole"
SEEN = 4096  # elements that are looked at for a pattern
COMMON = 0.25  # a share of equal elements that makes a pattern
ALIKE = 0.1  # of the spread that sums of independent elements have


def chosen(seed: int, calls: int, tensors: int) -> list[list[tuple[int, int]]]:
    """Two numbers for each tensor of each call, which say what it holds."""
    chance = np.random.Generator(np.random.SFC64(seed))
    found: list[list[tuple[int, int]]] = chance.integers(0, 1 << 62, (calls, tensors, 2)).tolist()
    return found


class Contents:
    """The draws of all inputs.

    Args:
        draws: Sets of input tensors, each as the problem drew it, all with the same looks.
        place: Puts a tensor where the calls want it.  What the draws allow is found out before,
            on the CPU, whose rounding is the judge's.
    """

    def __init__(
        self, draws: Sequence[Sequence[torch.Tensor]], place: Place = lambda tensor: tensor
    ) -> None:
        columns = list(zip(*draws, strict=True))
        self.looks, self.place = [TensorSpec.of(column[0]) for column in columns], place
        self.kinds = [kind_of(column) for column in columns]
        pools = [
            list(column) if kind == WHOLE else [torch.cat([_flat(tensor) for tensor in column])]
            for column, kind in zip(columns, self.kinds, strict=True)
        ]
        self.turned = [
            kind == ROWS and _columns_alike(pool[0].reshape(-1, look.shape[-1]))
            for look, kind, pool in zip(self.looks, self.kinds, pools, strict=True)
        ]
        self.pools = [[place(tensor) for tensor in pool] for pool in pools]

    def slot(self) -> tuple[list[torch.Tensor], list[Write]]:
        """New memory for all inputs, and what fills each of them with its two numbers."""
        tensors, writes = [], []
        parts = zip(self.looks, self.kinds, self.pools, self.turned, strict=True)
        for look, kind, pool, turned in parts:
            tensor = self.place(look.empty())
            tensors.append(tensor)
            writes.append(_writer(kind, pool, tensor, turned))
        return tensors, writes


def _writer(kind: str, pools: list[torch.Tensor], tensor: torch.Tensor, turned: bool) -> Write:
    if kind == WHOLE:
        if 0 in tensor.stride() and tensor.numel() > 1:
            tensor = tensor.as_strided(*_without_expanded(tensor))
            pools = [one.as_strided(*_without_expanded(one)) for one in pools]
        return lambda one, _: tensor.copy_(pools[one % len(pools)])
    (pool,), count = pools, tensor.numel()
    flat = _flat(tensor)
    if kind == FREE:
        spans = len(pool) - count + 1

        def window(one: int, _: int) -> None:
            start = one % spans
            flat.copy_(pool[start : start + count])

        return window
    width = tensor.shape[-1]
    return _row_writer(pool.reshape(-1, width), flat.reshape(-1, width), turned)


def _row_writer(pool: torch.Tensor, rows: torch.Tensor, turned: bool) -> Write:
    spans, width = len(pool) - len(rows) + 1, rows.shape[1]

    def write(one: int, two: int) -> None:
        start, turn = one % spans, two % width if turned else 0
        window = pool[start : start + len(rows)]
        rows[:, : width - turn].copy_(window[:, turn:])
        rows[:, width - turn :].copy_(window[:, :turn])

    return write


def kind_of(draws: Sequence[torch.Tensor]) -> str:
    """How freely one input may be changed; the same for the same draws, whoever asks."""
    first = draws[0]
    if first.numel() < 2 or not _dense(first):
        return WHOLE
    if first.is_floating_point() and not any(_patterned(draw) for draw in draws):
        return FREE
    if not first.is_contiguous() or any(_ordered(draw) or _symmetric(draw) for draw in draws):
        return WHOLE
    return ROWS


def _patterned(tensor: torch.Tensor) -> bool:
    flat = _flat(tensor)
    seen = flat[:: max(1, len(flat) // SEEN)].double()
    common = torch.unique(seen, return_counts=True)[1].max() if len(seen) > 8 else 0
    return (
        not bool(seen.isfinite().all()) or bool(common > COMMON * len(seen))
        or _ordered(tensor) or _symmetric(tensor) or _normalised(tensor)
    )  # fmt: skip


def _ordered(tensor: torch.Tensor) -> bool:
    """Whether every row is sorted, up or down: offsets, padding, positions, causal masks."""
    width = tensor.shape[-1]
    if width < 3:
        return False
    rows = tensor.reshape(-1, width)[:SEEN]
    less, more = rows[:, :-1] <= rows[:, 1:], rows[:, :-1] >= rows[:, 1:]
    return bool((less.all(-1) | more.all(-1)).all())


def _symmetric(tensor: torch.Tensor) -> bool:
    if tensor.dim() < 2 or tensor.shape[-1] != tensor.shape[-2]:
        return False
    return tensor.shape[-1] > 1 and bool(tensor.eq(tensor.mT).all())


def _normalised(tensor: torch.Tensor) -> bool:
    """Whether the rows, or their squares, all have the same sum."""
    rows = tensor.reshape(-1, tensor.shape[-1])[:SEEN].double()
    if min(rows.shape) < 2:
        return False
    spread = ALIKE / rows.shape[1] ** 0.5
    return any(
        bool(sums.std() <= spread * size.mean())
        for sums, size in ((rows.sum(1), rows.abs().sum(1)), (rows.square().sum(1),) * 2)
    )


def _columns_alike(rows: torch.Tensor) -> bool:
    """Whether what stands in one column might stand in any other."""
    if rows.dtype == torch.bool or rows.is_floating_point() or rows.is_complex():
        return True
    most = rows.amax(0)
    return bool(most.min() * 2 >= most.max())


def _dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill its memory without gaps, in whatever order."""
    filled = TensorSpec.of(tensor).nbytes == tensor.numel() * tensor.element_size()
    return filled and 0 not in tensor.stride()


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor's elements as they lie in memory; a view."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def _without_expanded(tensor: torch.Tensor) -> tuple[list[int], list[int]]:
    """Shape and strides of what an expanded tensor really holds."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    sizes = [1 if step == 0 else size for size, step in pairs]
    return sizes, list(tensor.stride())
