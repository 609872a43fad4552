"""Our own parametric kernels, C++ or Triton, chosen by the shape of the problem's graph."""

from __future__ import annotations

from collections.abc import Sequence

from kernelite.kernels import templates
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Plan
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.problem import Problem, instantiate


class Templates:
    """Every template that matches."""

    seconds = 0.5

    def propose(self, problem: Problem, target: Target | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        backend = "cpp" if target is None else "triton"
        instance = instantiate(problem, 0)
        try:
            graph = flat_graph(instance.model, instance.inputs)
        except NotTraceable:
            return []
        return [plan for _, plan in templates.plans(graph, backend)]


PROPOSER = Templates()
