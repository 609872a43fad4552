"""One candidate compiled for one target, by its own host code on tensors without contents.

For a process of its own that has no other use: Triton is told that the target
is there, and stays so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
import torch._meta_registrations  # a second that forked processes share

from kernelite.kernels.backends import _python as python
from kernelite.kernels.backends._as_cuda import pretending
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target, amd, driver, nvidia
from kernelite.kernels.targets.occupancy import occupancy
from kernelite.kernels.targets.records import Binary, Compiled, Configuration, Kind, Trouble
from kernelite.kernels.targets.troubles import trouble
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

HOME = "meta"
MOST_GRIDS = 16
LONGEST_VALUE = 100
MOST_TENSOR_COLUMNS = 512  # of tensor memory, on every target that has it
TOTAL_BYTES = 64 << 30
ROCM = "7.0"  # the first that knows gfx950
NO_KERNEL = Trouble(Kind.HOST, "the host code launches no kernel")


def compiled(
    kernel: Kernel, signature: Signature, arguments: Sequence[TensorSpec], target: Target,
    scratch: Path,
) -> Compiled:  # fmt: skip
    """Call the candidate once, and say what it had Triton compile.

    Args:
        kernel: Of the backend ``triton``.
        signature: As `kernels.kernel.Backend.load` takes it.
        arguments: How the flat arguments look.
        target: Stands for the device everywhere.
        scratch: An empty folder, for the source and what compilers write.
    """
    (path := scratch / "kernel.py").write_text(kernel.source)
    (said := scratch / "said").touch()
    os.dup2(os.open(said, os.O_WRONLY), 2)
    device, found = driver.install(target), None
    if target.amd:
        torch.version.hip = ROCM
    try:
        with pretending(HOME, _properties(target)):
            _call(python.entry(python.execute(kernel, path), signature), arguments)
    except Exception as error:  # noqa: BLE001  candidate code may raise anything
        found = trouble(error, path, said.read_text(errors="replace"))
    configurations = [
        _configuration(build, target, path, said.read_text(errors="replace"))
        for build in device.builds.values()
    ]
    return Compiled(configurations, found or (None if configurations else NO_KERNEL))


def _call(entry: python._Call, arguments: Sequence[TensorSpec]) -> None:
    if (model := getattr(entry.function, "model", None)) is not None:
        model.to(HOME)
    entry(
        [
            torch.empty_strided(look.shape, look.stride, dtype=getattr(torch, look.dtype), device=HOME)
            for look in arguments
        ]
    )
