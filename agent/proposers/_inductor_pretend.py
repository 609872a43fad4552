"""A process in which PyTorch and Triton believe in a GPU that is not there.

For a process of its own: what is told here is told for good.  It has to be told before
`torch._inductor` is imported, which registers other things for AMD's GPUs than for NVIDIA's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kernelite.kernels.devices import gpu
from kernelite.kernels.targets import Target, compiling, driver


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


def is_there(target: Target) -> bool:
    """Whether this machine's GPU is of the target's architecture."""
    if not torch.cuda.is_available():
        return False
    return gpu.detect(torch.cuda.get_device_properties(0)).arch == target.arch


def _saying(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer
