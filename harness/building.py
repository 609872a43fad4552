"""Builds candidates in a cage that may run compilers, but sees no network, key or answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kernelite.errors import MachineError
from kernelite.harness.placement import CPU, Placement
from kernelite.harness.remote import Line, Lost, Server
from kernelite.harness.verdict import Reason
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed, Kernel, Use
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import specs

TIMEOUT_S = 150.0
LARGEST_BYTES = 256 << 20


def build(
    server: Server, kernel: Kernel, signature: Signature, arguments: Sequence[torch.Tensor],
    placement: Placement = CPU,
) -> Path:  # fmt: skip
    """The kernel's artefact, from the cache or built now.

    Args:
        server: Forks the process that builds.
        kernel: The candidate.
        signature: Of the problem, and with ``arguments`` what a kernel is built for that is built
            by a call on its device.  Nothing of their contents reaches that process.
        arguments: The flat ones.
        placement: Where the kernel will run.

    Raises:
        Lost: the kernel is wrong; the text is the compiler's.
        MachineError: the compiler could not do its work, or the artefact not be kept.
    """
    found = backend(kernel.backend)
    called = found.devices[placement.kind].called
    use = Use(placement.model, signature, specs(arguments)) if called else None
    try:
        artefact = found.artefact(kernel, use)
    except BuildFailed as error:
        raise Lost(Reason.BUILD, str(error)) from error
    if not artefact.exists():
        _keep(artefact, _built(server, kernel, use, placement))
    return artefact


def _built(server: Server, kernel: Kernel, use: Use | None, placement: Placement) -> torch.Tensor:
    request: dict[str, Any] = {"do": "build", "backend": kernel.backend, "source": kernel.source}
    preload = backend(kernel.backend).devices[placement.kind].preload if use else ""
    with Line(server, TIMEOUT_S, preload) as line:
        try:
            if use is not None:
                _bring_to_device(line, placement)
                request["use"] = use.as_json()
            _, (built,) = line.ask(request, largest_bytes=LARGEST_BYTES)
        except Lost as lost:
            if lost.kind == MachineError.__name__:
                raise MachineError(lost.text) from lost
            keeps = use is not None or lost.reason is Reason.UNSUPPORTED
            raise Lost(lost.reason if keeps else Reason.BUILD, lost.text) from lost
    return built


def _bring_to_device(line: Line, placement: Placement) -> None:
    own = placement.own_processes
    try:
        line.ask({"do": "workshop", "layers": placement.layers, "own_processes": own})
        line.ask({"do": "processor", "device": placement.device})
    except Lost as lost:  # no word of the kernel's has run yet
        raise MachineError(f"no kernel can be built on {placement.device}: {lost}") from lost


def _keep(artefact: Path, built: torch.Tensor) -> None:
    partial = artefact.with_suffix(f".{os.getpid()}")
    try:
        partial.write_bytes(built.numpy().tobytes())
        os.replace(partial, artefact)
    except OSError as error:
        raise MachineError(f"cannot keep what was built in {artefact}: {error.strerror}") from error
