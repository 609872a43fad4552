"""The process that compiles a reference for a GPU: a problem on stdin, candidates on stdout.

Inductor stops where its code is written.  Without the GPU it works on tensors
without contents, as it does with one; only what it would measure there is
replaced by its own order.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from kernelite.agent.proposers import _inductor_pretend as pretending
from kernelite.agent.proposers._inductor_seed import Seed, seed
from kernelite.agent.proposers._inductor_trace import Sizes, wrapper
from kernelite.errors import KerneliteError
from kernelite.kernels.kernel import FIXED_SIZES
from kernelite.kernels.targets import Target, find
from kernelite.problems.problem import Instance, Problem, instantiate
from kernelite.problems.tensors import specs

#: Products and convolutions by Inductor's own templates instead of a library's.
TEMPLATES = {
    "max_autotune_gemm": True, "max_autotune_gemm_backends": "TRITON",
    "max_autotune_conv_backends": "TRITON", "autotune_in_subproc": False,
    "benchmark_epilogue_fusion": False,
}  # fmt: skip


class Worker:
    """What Inductor writes for one problem and one GPU."""

    def __init__(self, problem: Problem, target: Target, pretended: bool) -> None:
        self.instance: Instance = instantiate(problem, 0)
        self.target, self.pretended = target, pretended
        state = self.instance.model.state_dict()
        buffers = dict(self.instance.model.named_buffers())
        self.hidden = {name: value for name, value in buffers.items() if name not in state}

    def answers(self) -> Iterator[dict[str, Any]]:
        """For each way ``label``, and ``sources``, ``space`` and ``library``, or ``refused``.

        Sources are named by the tiles of their products; where there is one alone, it has no name.
        """
        plain = [self._answer("inductor", True), self._answer("inductor, own sizes", False)]
        yield from plain
        if any(answer.get("library") for answer in plain):
            # A GPU that is there is one to measure on: then Inductor chooses the tiles.
            tiles = pretending.TILES if self.pretended else {"": None}
            yield self._answer("inductor, templates of products", self.pretended, tiles)

    def _answer(
        self, label: str, any_size: bool, tiles: Mapping[str, pretending.Tile | None] | None = None
    ) -> dict[str, Any]:
        made: dict[str, Seed] = {}
        try:
            for name, tile in (tiles or {"": None}).items():
                if tile:
                    pretending.prefer(tile)
                made[name] = self._seed(any_size, TEMPLATES if tiles else {})
        except KerneliteError as error:
            return {"label": label, "refused": str(error)}
        sources = {name: seed.source for name, seed in made.items()}
        first = next(iter(made.values()))
        return {"label": label, "sources": sources, "space": first.space, "library": first.library}

    def _seed(self, any_size: bool, settings: Mapping[str, Any]) -> Seed:
        sizes = Sizes.any() if any_size else Sizes.own()
        constants = list(self.hidden.values())
        looks = specs([*self.instance.arguments, *constants])
        text = wrapper(self.instance, list(self.hidden), sizes, looks, settings)
        heading = [f"What Inductor of PyTorch {torch.__version__} writes for {self.target}."]
        if not any_size:
            heading.append(FIXED_SIZES)
        count = len(self.instance.arguments)
        return seed(text, heading, count, constants, sizes.conditions())


def main() -> None:
    """Answer one request; what the problem itself writes to stdout goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    target = find(request["target"])
    if pretended := not pretending.is_there(target):
        pretending.pretend(target)
    with answers:
        try:
            found = list(Worker(Problem(**request["problem"]), target, pretended).answers())
        except KerneliteError as error:
            found = [{"label": "inductor", "refused": str(error)}]
        json.dump(found, answers)


if __name__ == "__main__":
    main()
