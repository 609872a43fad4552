"""A process in which PyTorch and Triton believe in a GPU that is not there.

For a process of its own: what is told here is told for good.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from math import log2
from typing import Any

import torch
from torch._inductor.runtime import triton_helpers
from torch._inductor.select_algorithm import AlgorithmSelectorCache

from kernelite.kernels.devices import gpu
from kernelite.kernels.targets import Target, compiling, driver

Tile = tuple[int, int, int]
#: Rows, inner size and columns of the tiles that a product's template is asked for.
TILES: Mapping[str, Tile] = {
    "64x64": (64, 32, 64), "128x128": (128, 64, 128), "32x32": (32, 32, 32)
}  # fmt: skip


def pretend(target: Target) -> None:
    """Answer as the target would whatever is asked of a GPU, from now on."""
    if target.amd:
        torch.version.hip = compiling.ROCM
    properties = compiling.properties(target)
    answers = {
        "is_available": True, "device_count": 1, "current_device": 0,
        "get_device_properties": properties, "_get_device_properties": properties,
        "get_device_capability": target.capability, "get_device_name": properties.name,
        "_lazy_init": None, "_exchange_device": -1, "_maybe_exchange_device": -1,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(torch.cuda, name, _saying(answer))
    driver.install(target)
    triton_helpers.set_driver_to_gpu = _saying(None)
    prefer(TILES["64x64"])
    AlgorithmSelectorCache.make_precompile_fn = _saying(  # type: ignore[method-assign]
        _saying(None)
    )


def is_there(target: Target) -> bool:
    """Whether this machine's GPU is of the target's architecture."""
    if not torch.cuda.is_available():
        return False
    return gpu.detect(torch.cuda.get_device_properties(0)).arch == target.arch


def _saying(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def prefer(tile: Tile) -> None:
    """Of all templates of a product, which nobody can measure here, the nearest to this tile."""

    def times(choices: list[Any]) -> dict[Any, float]:
        return {choice: _distance(choice, tile) for choice in choices}

    AlgorithmSelectorCache.make_benchmark_fn = _saying(times)  # type: ignore[method-assign]


def _distance(choice: Any, tile: Tile) -> float:
    shape = ast.literal_eval(str(choice.info_dict().get("tile_shape", "()")))
    if len(shape) != len(tile):
        return 0.0
    return sum(abs(log2(a / b)) for a, b in zip(shape, tile, strict=True))
