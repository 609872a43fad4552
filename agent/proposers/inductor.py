"""What torch.compile writes for the reference, as one C++ kernel of ours: a seed and a bar.

Only graphs that Inductor computes with its own loops: a call into a library
(matrix product, convolution, attention) makes the answer empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from kernelite.agent.proposers import Fixed
from kernelite.agent.proposers._inductor_process import ask
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Plan
from kernelite.problems.problem import Problem

WORKER = "kernelite.agent.proposers._inductor_worker"
TIMEOUT_S = 90.0


class Inductor:
    """Generated C++, compiled like any other."""

    seconds = 10.0

    def propose(self, problem: Problem, target: Target | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        if target is not None:
            return []
        answer = ask(WORKER, asdict(problem), TIMEOUT_S)
        if answer is None or "source" not in answer:
            return []
        count = answer["kernels"]
        label = f"inductor ({count} kernel{'s' if count != 1 else ''})"
        return [Fixed(label, Kernel("cpp", answer["source"]))]


PROPOSER = Inductor()
