"""What Inductor writes for one problem and one GPU, as candidates or as the reasons for none.

Inductor stops where its code is written.  Without the GPU it works on tensors
without contents, as it does with one; only what it would measure there is
replaced by a preference.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from math import log2
from typing import Any

import torch
from torch._inductor.runtime import triton_helpers
from torch._inductor.select_algorithm import AlgorithmSelectorCache

from kernelite.agent.proposers._inductor_seed import Seed, seed
from kernelite.agent.proposers._inductor_trace import Sizes, wrapper
from kernelite.errors import KerneliteError
from kernelite.kernels.kernel import FIXED_SIZES
from kernelite.kernels.targets import Target
from kernelite.problems.problem import Instance, Problem, instantiate
from kernelite.problems.tensors import specs

Tile = tuple[int, int, int]
#: Rows, inner size and columns of the tiles that a product's template is asked for.
TILES: Mapping[str, Tile] = {
    "64x64": (64, 32, 64), "128x128": (128, 64, 128), "32x32": (32, 32, 32)
}  # fmt: skip
#: Products and convolutions by Inductor's own templates instead of a library's.
TEMPLATES = {
    "max_autotune_gemm": True, "max_autotune_gemm_backends": "TRITON",
    "max_autotune_conv_backends": "TRITON", "autotune_in_subproc": False,
    "benchmark_epilogue_fusion": False,
}  # fmt: skip


class Answers:
    """What Inductor writes for one problem and one GPU."""

    def __init__(self, problem: Problem, target: Target, pretended: bool) -> None:
        self.instance: Instance = instantiate(problem, 0)
        self.target, self.pretended = target, pretended
        if pretended:
            _unmeasured()
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
            tiles = TILES if self.pretended else {"": None}
            yield self._answer("inductor, templates of products", self.pretended, tiles)

    def _answer(
        self, label: str, any_size: bool, tiles: Mapping[str, Tile | None] | None = None
    ) -> dict[str, Any]:
        made: dict[str, Seed] = {}
        try:
            for name, tile in (tiles or {"": None}).items():
                if tile:
                    _prefer(tile)
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


def _unmeasured() -> None:
    """Have Inductor ask no GPU for anything."""
    triton_helpers.set_driver_to_gpu = lambda: None
    AlgorithmSelectorCache.make_precompile_fn = _saying(lambda: None)  # type: ignore[method-assign]


def _saying(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def _prefer(tile: Tile) -> None:
    """Of all templates of a product, which nobody can measure here, the nearest to this tile."""

    def times(choices: list[Any]) -> dict[Any, float]:
        return {choice: _distance(choice, tile) for choice in choices}

    AlgorithmSelectorCache.make_benchmark_fn = _saying(times)  # type: ignore[method-assign]


def _distance(choice: Any, tile: Tile) -> float:
    shape = ast.literal_eval(str(choice.info_dict().get("tile_shape", "()")))
    if len(shape) != len(tile):
        return 0.0
    return sum(abs(log2(a / b)) for a, b in zip(shape, tile, strict=True))
