"""Where candidates come from: one module per source, each offering a ``PROPOSER``.

A proposer reads a problem and answers with plans (`kernels.templates.Plan`):
what was recognised, which parameters are open, and how to write the kernel
for one choice of them.  It writes for this CPU, or for the GPU that it is told,
which need not be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from kernelite import plugins
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Choice, Choices, Plan
from kernelite.problems.problem import Problem


class NoPlans(tuple[Plan, ...]):
    """No plans from a proposer that knows such problems.

    Attributes:
        reason: Why there are none for this one; for a user to read.
    """

    reason: str

    def __new__(cls, reason: str) -> NoPlans:
        """An empty tuple with a reason."""
        made = super().__new__(cls)
        made.reason = reason
        return made


@runtime_checkable
class Proposer(Protocol):
    """One source of candidates."""

    seconds: float
    """What asking it costs; the cheapest is asked first."""

    def propose(self, problem: Problem, target: Target | None = None) -> Iterable[Plan]:
        """Plans for the problem on a GPU, or on this CPU; empty if it knows none there.

        Each is judged before the next is taken, so a generator can learn from the log.
        """


@dataclass(frozen=True, slots=True)
class Fixed:
    """A plan with nothing left open."""

    label: str
    kernel: Kernel
    space: Mapping[str, Sequence[Choice]] = field(default_factory=dict)

    def render(self, choices: Choices) -> Kernel:
        """The one kernel."""
        return self.kernel


def proposers() -> list[tuple[str, Proposer]]:
    """All proposers with their names, cheapest first."""
    found = [
        (name, plugins.load(__name__, name, "PROPOSER", Proposer))  # type: ignore[type-abstract]
        for name in plugins.names(__name__)
    ]
    return sorted(found, key=lambda pair: pair[1].seconds)
