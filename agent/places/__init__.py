"""Where the kernels of a campaign are judged: one module for each kind of place.

`cpu` is this machine's processor, `cuda` a GPU of its own, and `absent` a GPU of the tables that is
not here: what the others measure, it models and emulates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from kernelite.agent.search import Budget, Say
from kernelite.problems.capture import Host, Site
from kernelite.problems.problem import Problem
from kernelite.problems.target import Target
from kernelite.results import records
from kernelite.results.log import EventLog

Search = Callable[[str, Problem, Budget], None]
"""Searches the site of that name; its decision is in the log when it returns."""


class Place(Protocol):
    """A device, as a campaign needs it.

    Attributes:
        kind: Of its verdicts, ``measured`` or ``emulated``.
        decisions: Kinds of event that end the search of a site.
        confirm_s: What deciding on a site takes when its turn is over.
    """

    kind: str
    decisions: tuple[str, ...]
    confirm_s: float

    def described(self) -> Mapping[str, Any]:
        """What the run notes of the device: its ``name``, and all that was modelled from."""

    def profiled(self, target: Target, hosts: Sequence[Host]) -> records.Profiled:
        """Where the model's eager time goes, module by module."""

    def ranked(
        self, target: Target, hosts: Sequence[Host], sites: Sequence[Site], whole_us: float
    ) -> records.Ranked:
        """The sites by expected gain; ``whole_us`` is the profile's latency."""

    def searching(
        self, log: EventLog, say: Say, backend: str, seed: int
    ) -> AbstractContextManager[Search]:  # fmt: skip
        """What it takes to search one site after another, for one backend or for ``all``."""

    def conclude(self, log: EventLog, say: Say, ranked: records.Ranked) -> None:
        """Say of the whole model what can be said; it goes to the log too."""
