"""A GPU of this machine."""

from __future__ import annotations

import torch

from kernelite.kernels.devices import gpu
from kernelite.kernels.targets import Target as Gpu


def present(wanted: Gpu) -> str | None:
    """The device of this machine that is such a GPU, by its full name; None if there is none."""
    for index in range(torch.cuda.device_count()):
        if gpu.detect(torch.cuda.get_device_properties(index)).name == wanted.gpu.name:
            return f"cuda:{index}"
    return None
