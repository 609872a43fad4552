"""Counts the launches of Triton's kernels, and leaves them out on demand.

What is still right without its launches was not computed by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

_launched: Counter[str] = Counter()
_left_out = False


@contextmanager
def launches(left_out: bool) -> Iterator[Counter[str]]:
    """How often each kernel is launched within this, by name; ``left_out``: would be."""
    global _left_out
    _launched.clear()
    _left_out = left_out
    try:
        yield _launched
    finally:
        _left_out = False


def counted(run: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a kernel that launches it, with every launch counted."""

    @wraps(run)
    def launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("warmup"):
            _launched[self.__name__] += 1
            if _left_out:
                return None
        return run(self, *args, **kwargs)

    return launch
