"""What runs candidate code: one forked child per evaluation.

It gets a kernel, a signature and input tensors; it never sees what is
expected, which seeds come next or how its answers are judged.  It answers
requests on one socket until that closes.
"""

from __future__ import annotations

import os
import resource
import socket
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


def main(sock: socket.socket, scratch: Path) -> NoReturn:
    """Serve one judge and exit without running any of the server's cleanup."""
    try:
        os.setsid()
        Session(sock, scratch).serve()
    except wire.Broken:
        pass
    except BaseException:  # noqa: BLE001  the last words of a candidate, for the log
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


class Session:
    """The state of one runner: a loaded kernel, its inputs and state, its answers."""

    def __init__(self, sock: socket.socket, scratch: Path) -> None:
        self.sock, self.scratch = sock, scratch
        self.entry: Entry
        self.inputs: list[torch.Tensor] = []
        self.state: list[torch.Tensor] = []
        self.ring: list[list[torch.Tensor]] = []
        self.answers: list[list[torch.Tensor]] = []
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

    def do_cage(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Close the cage, which must come before any thread and any word of the candidate.

        What a candidate prints must not fill the disk under the server's log.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        closed = cage.close(self.scratch, [Path(header["artefact"])], MEMORY_BYTES, CPU_S)
        return {"isolation": closed.level, "layers": list(closed.layers)}, []

    def do_load(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Load the kernel."""
        kernel = Kernel(header["backend"], header["source"])
        torch.set_num_threads(header["threads"])
        signature = Signature.from_json(header["signature"])
        self.entry = backend(kernel.backend).load(kernel, Path(header["artefact"]), signature)
        return {}, []

    def do_state(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Hold this state for the calls that follow; ``in_place`` as load_state_dict does."""
        if header.get("in_place"):
            for old, new in zip(self.state, tensors, strict=True):
                old.copy_(new)
        else:
            self.state = tensors
        return {}, []

    def do_call(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Call once; answer the outputs and, if asked, the arguments as they are afterwards.

        With ``reuse`` the inputs take the storage of those before them, unseen by
        version counters.
        """
        if header.get("reuse"):
            tensors = [
                _overwritten(old, new) for old, new in zip(self.inputs, tensors, strict=True)
            ]
        self.inputs = tensors
        arguments = [*tensors, *self.state]
        results = _plain(self.entry(arguments, _poisoned))
        self.answers = [*self.answers[-1:], results]
        echo = arguments if header.get("echo") else []
        return {"outputs": len(results)}, [*results, *echo]

    def do_earlier(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """The outputs of the call before the last, as they are now."""
        return {}, self.answers[0]

    def do_ring(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Add one set of inputs for timing; the first clears the old ones."""
        if header["first"]:
            self.ring, self.inputs, self.answers = [], [], []
        self.ring.append([*tensors, *self.state])
        return {}, []

    def do_time(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Call ``calls`` times, each time with the next set; answer the time of each in ns.

        The outputs of the call that ``keep`` names can be asked for afterwards.
        """
        calls, first, spent = header["calls"], header["first"], []
        clock, entry, ring = time.perf_counter_ns, self.entry, self.ring
        if header["cold"] and self.flush is None:
            self.flush = torch.zeros(FLUSH_BYTES, dtype=torch.uint8)
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        keep = first + header["keep"]
        for index in range(first, first + calls):
            arguments = ring[index % len(ring)]
            if header["cold"] and self.flush is not None:
                self.flush.add_(1)
            start = clock()
            results = entry(arguments)
            spent.append(clock() - start)
            if index == keep:
                self.answers = [results]
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switched
        _plain(self.answers[0])
        return {"ns": spent, "switches": switched}, []

    def do_kept(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """The outputs of the timed call that was kept."""
        return {}, self.answers[0]


def _plain(results: list[torch.Tensor]) -> list[torch.Tensor]:
    """The results themselves; a subclass could put its work off until somebody looks.

    Raises:
        TypeError: one of them is more than a tensor.
    """
    if not all(type(result) is torch.Tensor for result in results):
        raise TypeError("an output is not exactly a torch.Tensor")
    return results


def _overwritten(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """``old`` with the contents of ``new``, if both look alike and every element is its own."""
    if TensorSpec.of(old) != TensorSpec.of(new) or 0 in old.stride():
        return new
    old.data.copy_(new)  # .data has a version counter of its own
    return old


def _poisoned(spec: TensorSpec) -> torch.Tensor:
    """Memory in which every element that a kernel does not write shows."""
    tensor = spec.empty()
    if tensor.is_floating_point() or tensor.is_complex():
        return tensor.fill_(float("nan"))
    return tensor.fill_(True) if tensor.dtype == torch.bool else tensor.fill_(113)
