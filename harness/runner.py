"""What runs candidate code: one forked child per evaluation.

It gets a kernel, a signature and input tensors; it never sees what is
expected, which seeds come next or how its answers are judged.  It answers
requests on one socket until that closes.
"""

from __future__ import annotations

import os
import resource
import socket
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernelite.harness import cage, wire
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed, Entry, Kernel
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

FLUSH_BYTES = 96 << 20
MEMORY_BYTES = 16 << 30
CPU_S = 600


def main(sock: socket.socket, caged: bool) -> NoReturn:
    """Serve one judge and exit without running any of the server's cleanup."""
    try:
        os.setsid()
        scratch = Path(tempfile.mkdtemp(prefix="kernelite-"))
        Session(sock, scratch, caged).serve()
    except wire.Broken:
        pass
    except BaseException:  # noqa: BLE001  the last words of a candidate, for the log
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


class Session:
    """The state of one runner: a loaded kernel, its state tensors, sets of inputs."""

    def __init__(self, sock: socket.socket, scratch: Path, caged: bool) -> None:
        self.sock, self.scratch, self.caged = sock, scratch, caged
        self.entry: Entry
        self.state: list[torch.Tensor] = []
        self.ring: list[list[torch.Tensor]] = []
        self.last: list[torch.Tensor] = []
        self.flush: torch.Tensor | None = None

    def serve(self) -> NoReturn:
        """Answer requests for ever; `wire.Broken` ends it."""
        while True:
            header, tensors = wire.receive(self.sock)
            try:
                answer, results = getattr(self, "do_" + header["do"])(header, tensors)
            except Exception as error:  # noqa: BLE001  candidate code may raise anything
                text = str(error) or traceback.format_exc(limit=-1)
                kind = "build" if isinstance(error, BuildFailed) else type(error).__name__
                answer, results = {"error": text[-4000:], "kind": kind}, []
            wire.send(self.sock, answer, results)

    def do_load(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Close the cage, which must come before any thread, then load the kernel."""
        kernel = Kernel(header["backend"], header["source"])
        artefact = Path(header["artefact"])
        level, layers = 0, tuple[str, ...]()
        if self.caged:
            closed = cage.close(self.scratch, [artefact], MEMORY_BYTES, CPU_S)
            level, layers = closed.level, closed.layers
        torch.set_num_threads(header["threads"])
        signature = Signature.from_json(header["signature"])
        self.entry = backend(kernel.backend).load(kernel, artefact, signature)
        return {"isolation": level, "layers": list(layers)}, []

    def do_state(self, _: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Hold these state tensors for the calls that follow."""
        self.state = tensors
        return {}, []

    def do_call(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Call once; answer the outputs and, if asked, the arguments as they are afterwards."""
        arguments = [*tensors, *self.state]
        results = self.entry(arguments, _poisoned)
        ok = all(type(r) is torch.Tensor for r in results)
        echo = arguments if header.get("echo") else []
        if not ok:
            raise TypeError("an output is not exactly a torch.Tensor")
        return {"outputs": len(results)}, [*results, *echo]

    def do_ring(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Add one set of inputs for timing; the first clears the old ones."""
        if header["first"]:
            self.ring = []
        self.ring.append([*tensors, *self.state])
        return {}, []

    def do_time(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Call ``calls`` times, each time with the next set; answer the time of each in ns."""
        calls, first, spent = header["calls"], header["first"], []
        clock, entry, ring = time.perf_counter_ns, self.entry, self.ring
        if header["cold"] and self.flush is None:
            self.flush = torch.zeros(FLUSH_BYTES, dtype=torch.uint8)
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        for index in range(first, first + calls):
            arguments = ring[index % len(ring)]
            if header["cold"] and self.flush is not None:
                self.flush.add_(1)
            start = clock()
            results = entry(arguments)
            spent.append(clock() - start)
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switched
        self.last = results
        return {"ns": spent, "switches": switched}, []

    def do_last(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """The outputs of the last timed call."""
        return {}, self.last


def _poisoned(spec: TensorSpec) -> torch.Tensor:
    """Memory in which every element that a kernel does not write shows."""
    tensor = spec.empty()
    if tensor.is_floating_point() or tensor.is_complex():
        return tensor.fill_(float("nan"))
    return tensor.fill_(True) if tensor.dtype == torch.bool else tensor.fill_(113)
