"""A kernel for the process that uses it, with no cage around it."""

from __future__ import annotations

from kernelite.kernels.backends import _python as python
from kernelite.kernels.backends import backend
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import Entry, Kernel
from kernelite.problems.problem import Signature


def loaded(kernel: Kernel, signature: Signature, device: str) -> Entry:
    """The kernel's entry in this process.

    On a GPU a kernel is a Python module, and what it compiles it compiles at its first call.

    Raises:
        BuildFailed: the kernel is wrong.
        MachineError: a compiler could not do its work.
    """
    builder = backend(kernel.backend)
    if device == "cpu":
        return builder.load(kernel, builder.build(kernel), signature)
    path = python.kept(cache_folder(kernel.backend) / f"{kernel.id}.py", kernel.source.encode())
    return python.entry(python.execute(kernel, path), signature)
