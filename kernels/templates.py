"""Parametric kernels: in ``BACKEND_templates`` one module per idea, each with a ``TEMPLATE``.

A template reads a problem's flat graph (`problems.graph`), says whether it
can compute it, which parameters it leaves open, and writes the source.  It
never looks at a module's name.  What templates of all backends share stands in
`matching` and `loops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import fx

from kernelite import plugins
from kernelite.kernels.kernel import Kernel

Choice = int | str | bool
Choices = Mapping[str, Choice]


class Plan(Protocol):
    """A graph that a template knows how to compute."""

    @property
    def label(self) -> str:
        """What was recognised, in the field's words: ``add + rms_norm``, ``attention (causal)``."""

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """The open parameters, each with its values; the first is the default."""

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""


@runtime_checkable
class Template(Protocol):
    """One idea of how to compute a family of graphs."""

    def match(self, graph: fx.GraphModule) -> Plan | None:
        """A plan for exactly this graph, or None; never raises on an unknown operator."""


def plans(graph: fx.GraphModule, backend: str) -> list[tuple[str, Any]]:
    """Name of the template and its plan, for every template of ``backend`` that matches."""
    package, found = f"kernelite.kernels.{backend}_templates", []
    for name in plugins.names(package):
        template = plugins.load(package, name, "TEMPLATE", Template)  # type: ignore[type-abstract]
        if (plan := template.match(graph)) is not None:
            found.append((name, plan))
    return found
