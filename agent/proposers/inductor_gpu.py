"""What torch.compile writes for a GPU, there or not, as Triton candidates: seeds and a bar.

Up to three ways: kernels for any sizes, which an interpreter can judge on small
ones; kernels for the problem's own sizes, which torch.compile would run; and,
where there is a product or a convolution, Inductor's own template for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from kernelite.agent.proposers import NoPlans
from kernelite.agent.proposers._inductor_process import ask
from kernelite.errors import MachineError
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target, check_version
from kernelite.kernels.templates import Choice, Choices, Plan
from kernelite.problems.problem import Problem

WORKER = "kernelite.agent.proposers._inductor_gpu_worker"
TIMEOUT_S = 180.0
#: Versions of PyTorch whose private names the worker knows.
VERSIONS = ("2.13",)


@dataclass(frozen=True, slots=True)
class Seed:
    """What Inductor wrote; open are the tiles of its products and the options of each launch.

    Attributes:
        sources: By tile; one without a name if there is no choice.
        options: For the variable that holds them in a source its values; the first stand there.
    """

    label: str
    sources: Mapping[str, str]
    options: Mapping[str, Sequence[str]]

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """See `kernels.templates.Plan`."""
        tiles = {"tile": tuple(self.sources)} if len(self.sources) > 1 else {}
        return {**tiles, **self.options}

    def render(self, choices: Choices) -> Kernel:
        """The text with the chosen options."""
        text = self.sources[str(choices.get("tile", ""))]
        for name, (default, *_) in self.options.items():
            text = text.replace(f"{name} = dict({default})", f"{name} = dict({choices[name]})")
        return Kernel("triton", text)


class InductorGpu:
    """Generated Triton, judged and compiled like any other."""

    seconds = 20.0

    def propose(self, problem: Problem, target: Target | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        if target is None:
            return []
        if (unknown := _unknown_version()) is not None:
            return NoPlans(f"no seed: {unknown}")
        request = {"problem": asdict(problem), "target": target.gpu.name}
        answers = ask(WORKER, request, TIMEOUT_S)
        if answers is None:
            return NoPlans(f"no seed: Inductor died, or took more than {TIMEOUT_S:.0f} s")
        plans = [Seed(a["label"], a["sources"], a["space"]) for a in answers if "sources" in a]
        reasons = dict.fromkeys(a["refused"] for a in answers if "refused" in a)
        return plans or NoPlans(f"no seed: {'; '.join(reasons)}")


def _unknown_version() -> str | None:
    """Which of the installed versions is not known here; None if both are."""
    if ".".join(torch.__version__.split(".")[:2]) not in VERSIONS:
        known = ", ".join(VERSIONS)
        return f"PyTorch {torch.__version__} is not one whose Inductor is known; there is: {known}"
    try:
        check_version()
    except MachineError as error:
        return str(error)
    return None


PROPOSER = InductorGpu()
