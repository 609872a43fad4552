"""Sets of problems, one module per set, each offering ``problems()``."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kernelite import plugins
from kernelite.problems.problem import Problem


@runtime_checkable
class Suite(Protocol):
    """A function that lists the problems of one set."""

    def __call__(self) -> list[Problem]:
        """The problems, one per file and workload, in a fixed order."""


def names() -> list[str]:
    """Names of the suites there are."""
    return plugins.names(__name__)


def suite(name: str) -> list[Problem]:
    """The problems of the suite called ``name``.

    Raises:
        UsageError: no such suite; the message lists those there are.
    """
    return plugins.load(__name__, name, "problems", Suite)()  # type: ignore[type-abstract]
