"""Builds candidates in a cage that may run compilers, but sees no network, key or answer."""

from __future__ import annotations

import os
from pathlib import Path

from kernelite.errors import MachineError
from kernelite.harness.remote import Line, Lost, Server
from kernelite.harness.verdict import Reason
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed, Kernel, NotInterpretable

TIMEOUT_S = 150.0
LARGEST_BYTES = 256 << 20


def build(server: Server, kernel: Kernel) -> Path:
    """The kernel's artefact, from the cache or built now.

    Raises:
        BuildFailed: the kernel is wrong; the text is the compiler's.
        NotInterpretable: nothing can be said about it here.
        MachineError: the compiler could not do its work, or the artefact not be kept.
    """
    artefact = backend(kernel.backend).artefact(kernel)
    if artefact.exists():
        return artefact
    request = {"do": "build", "backend": kernel.backend, "source": kernel.source}
    with Line(server, TIMEOUT_S) as line:
        try:
            _, (built,) = line.ask(request, largest_bytes=LARGEST_BYTES)
        except Lost as lost:
            if lost.kind == MachineError.__name__:
                raise MachineError(lost.text) from lost
            failure = NotInterpretable if lost.reason is Reason.UNSUPPORTED else BuildFailed
            raise failure(lost.text) from lost
    partial = artefact.with_suffix(f".{os.getpid()}")
    try:
        partial.write_bytes(built.numpy().tobytes())
        os.replace(partial, artefact)
    except OSError as error:
        raise MachineError(f"cannot keep what was built in {artefact}: {error.strerror}") from error
    return artefact
