"""One module per question, each offering a ``STAGE``; ``order`` decides who asks first."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kernelite import plugins
from kernelite.harness.verdict import Failed, Skipped

if TYPE_CHECKING:
    from kernelite.harness.job import Job


@runtime_checkable
class Stage(Protocol):
    """One question about a kernel.

    Attributes:
        order: Who asks first.
        thorough: Whether a search asks it only of the candidates that it would keep.
    """

    order: int
    thorough: bool

    def run(self, job: Job) -> str | Skipped | Failed:
        """The evidence that the answer is good, in one line, or the failure.

        Raises:
            Lost: the runner failed; the judge turns it into a `Failed`.
        """


@cache
def stages() -> tuple[tuple[str, Stage], ...]:
    """All stages with their names, in order."""
    found = [
        (name, plugins.load(__name__, name, "STAGE", Stage))  # type: ignore[type-abstract]
        for name in plugins.names(__name__)
    ]
    return tuple(sorted(found, key=lambda pair: pair[1].order))
