"""Small changes of inputs between timed calls, so that their contents never repeat.

Judge and runner draw the same changes from one seed, which the runner gets
with the request to time.  In every row, the last axis being one, an element
takes the value of another one of that row: an index stays a valid index, a
mask stays a mask, and who remembers rows remembers nothing of use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
MOST_ROWS = 512  # changed at a time; more would take longer than a small kernel


def rows_of(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """The rows of each tensor as integers of the elements' size; views, not copies.

    Left out: tensors of one element, with expanded axes, or whose rows are no view.
    """
    return [found for tensor in tensors if (found := _rows(tensor)) is not None]


def _rows(tensor: torch.Tensor) -> np.ndarray | None:
    if tensor.numel() < 2 or 0 in tensor.stride() or tensor.element_size() not in INTEGERS:
        return None
    elements: np.ndarray = tensor.detach().view(INTEGERS[tensor.element_size()]).numpy()
    wide = elements.shape[-1] > 1
    rows = elements.reshape(-1, elements.shape[-1] if wide else elements.size)
    return rows if np.shares_memory(rows, elements) else None


def drawing(seed: int) -> np.random.Generator:
    """What `nudge` draws from, for one sample."""
    return np.random.Generator(np.random.SFC64(seed))


def nudge(views: Sequence[np.ndarray], chance: np.random.Generator) -> None:
    """Change one element in each row, of at most `MOST_ROWS` rows, of each tensor."""
    for rows in views:
        count, width = rows.shape
        which = np.arange(count) if count <= MOST_ROWS else chance.integers(0, count, MOST_ROWS)
        to, of = chance.integers(0, width, (2, len(which)))
        rows[which, to] = rows[which, of]
