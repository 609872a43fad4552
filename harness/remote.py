"""The judge's hold on runners: starts them, asks them, and ends them for certain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import torch

from kernelite.errors import MachineError
from kernelite.harness import environment, watchdog, wire
from kernelite.harness.placement import CPU, Placement
from kernelite.harness.verdict import Reason
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel, NotCompiled, NotInterpretable, TooLarge
from kernelite.problems.problem import Signature

COMPILER = "kernelite.harness.compiler"
CALL_TIMEOUT_S = 60.0
START_TIMEOUT_S = 120.0
REASONS = {
    "build": Reason.BUILD, "MemoryError": Reason.MEMORY, "OutOfMemoryError": Reason.MEMORY,
    NotInterpretable.__name__: Reason.UNSUPPORTED, NotCompiled.__name__: Reason.UNCOMPILED,
    TooLarge.__name__: Reason.RESOURCES, "OutOfResources": Reason.RESOURCES,  # Triton's own
}  # fmt: skip
#: Of PyTorch's allocator on a CPU, of CUDA and of Triton, which raise a plain RuntimeError.
NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "[CUDA]: out of memory")


class Lost(Exception):
    """A runner answered with an error, died or did not answer in time.

    Attributes:
        kind: Type of the error that it answered with; empty if it did not answer.
        text: Without the kind.
    """

    def __init__(self, reason: Reason, text: str, kind: str = "") -> None:
        super().__init__(f"{kind}: {text}" if kind else text)
        self.reason, self.kind, self.text = reason, kind, text


class Server:
    """A running fork server; start it early, it imports torch in the background.

    Several threads may use it.

    Args:
        preload: Modules that its children find imported, separated by commas.
        memory_bytes: What one of them may hold; by default what suits the machine.
    """

    def __init__(self, preload: str = "", memory_bytes: int | None = None) -> None:
        self.memory_bytes = memory_bytes or watchdog.limit_bytes()
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.control, self.ready = ours, False
        self.turn = threading.Lock()  # of a request and its answer
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self.folder = tempfile.mkdtemp(prefix="kernelite-")
        command = [sys.executable, "-P", "-m", "kernelite.harness.server", self.folder]
        command += [str(theirs.fileno()), preload, str(self.memory_bytes)]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment.of_server(),
            start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def fork(self, modules: str = "") -> tuple[int, socket.socket]:
        """A new runner that finds these modules imported: its process id and the socket to it.

        Raises:
            MachineError: the server did not start or has died.
        """
        try:
            with self.turn:
                if not self.ready:
                    self.control.settimeout(START_TIMEOUT_S)
                    if not self.control.recv(4096):
                        raise OSError("closed")
                    self.ready = True
                self.control.send(json.dumps({"do": "fork", "modules": modules}).encode())
                answer, (descriptor,), _, _ = socket.recv_fds(self.control, 4096, 1)
            return int(json.loads(answer)["pid"]), socket.socket(fileno=descriptor)
        except (OSError, ValueError) as error:
            raise MachineError(f"the fork server has died: {self._last_words()}") from error

    def end(self, pid: int) -> None:
        """End the runner and everything in its session, without waiting for that."""
        with suppress(OSError):  # a dead server has taken its runners along
            self.control.send(json.dumps({"do": "end", "pid": pid}).encode())

    def wait(self, pid: int) -> tuple[int, bool]:
        """As `end`; waits, and returns the exit code and whether it took too much memory.

        The code is negative for a signal.

        Raises:
            MachineError: the server has died, and its runners with it.
        """
        try:
            with self.turn:
                self.control.send(json.dumps({"do": "wait", "pid": pid}).encode())
                answer = json.loads(self.control.recv(4096))
            return int(answer["status"]), bool(answer["greedy"])
        except (OSError, ValueError) as error:
            raise MachineError(f"the fork server has died: {self._last_words()}") from error

    def close(self) -> None:
        """End the server; its children and their folders go with it."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # if the server could not do it itself

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"


class Line:
    """A forked process at the other end of a socket.

    Raises:
        MachineError: it could not be started.
    """

    def __init__(
        self, server: Server, timeout_s: float = CALL_TIMEOUT_S, modules: str = ""
    ) -> None:
        self.server, self.timeout_s = server, timeout_s
        self.pid, self.sock = server.fork(modules)
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, header: dict[str, Any], tensors: Sequence[torch.Tensor] = (),
        timeout_s: float | None = None, largest_bytes: int = 0,
    ) -> tuple[dict[str, Any], list[torch.Tensor]]:  # fmt: skip
        """One request and its answer.

        Raises:
            Lost: an error, a crash or silence; the runner has been ended unless it said so itself.
            MachineError: the fork server has died.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        self.sock.settimeout(timeout_s)
        try:
            wire.send(self.sock, header, tensors)
            answer, results = wire.receive(self.sock, largest_bytes)
        except TimeoutError:
            self.close()
            raise Lost(Reason.TIMEOUT, f"no answer within {timeout_s:g} s") from None
        except wire.Closed as closed:
            status, greedy = self._wait()
            if greedy:
                text = f"it took more than {self.server.memory_bytes >> 20} MiB of memory"
                raise Lost(Reason.MEMORY, text) from None
            raise Lost(Reason.CRASH, _death(status, str(closed))) from None
        except wire.Broken as broken:
            self.close()
            raise Lost(Reason.CRASH, f"an answer that is none: {broken}") from None
        if "error" in answer:
            kind, text = str(answer.get("kind")), str(answer["error"])
            reason = REASONS.get(kind, Reason.CRASH)
            if any(words in text for words in NO_MEMORY):
                reason = Reason.MEMORY
            raise Lost(reason, text, kind)
        return answer, results

    def close(self) -> None:
        """End the runner."""
        if not self.ended:
            self.ended = True  # once only: the number may belong to another process later
            self.sock.close()
            self.server.end(self.pid)

    def _wait(self) -> tuple[int, bool]:
        """End the runner; see `Server.wait`."""
        if self.ended:
            return 0, False
        self.ended = True
        self.sock.close()
        return self.server.wait(self.pid)


class Remote(Line):
    """One runner with one kernel loaded.

    Attributes:
        isolation: Level of the cage, as it was before any of the kernel's code ran.
        layers: Names of what holds it.
        flags: `harness.flags` as it was before the kernel's code ran.
        own_threads: How many threads it had then.
        signature: That the kernel was loaded for last.

    Raises:
        Lost: the kernel does not load.
        MachineError: no runner could be started.
    """

    def __init__(
        self, server: Server, kernel: Kernel, artefact: Path, signature: Signature,
        threads: int, caged: bool = True, timeout_s: float = CALL_TIMEOUT_S,
        placement: Placement = CPU,
    ) -> None:  # fmt: skip
        home = backend(kernel.backend).devices[placement.kind]
        super().__init__(server, timeout_s, home.preload)
        self.isolation, self.layers, self.own_threads = 0, tuple[str, ...](), 1
        self.placement = placement
        self.flags: dict[str, Any] = {}
        self.signature = signature
        self.load_request = {
            "do": "load", "backend": kernel.backend, "source": kernel.source,
            "artefact": str(artefact), "threads": threads,
        }  # fmt: skip
        try:
            if caged:
                self._enter_cage(artefact, placement)
            if placement.accelerator:
                request = {"do": "processor", "device": placement.device}
                answer = self._made_ready(request, f"use {placement.device}")
                self.own_threads = int(answer["threads"])
            self.load(signature)
        except Lost:
            self.close()
            raise

    def load(self, signature: Signature, state: Sequence[torch.Tensor] = (), slot: int = 0) -> None:
        """Load the kernel anew for this signature, as the instance called ``slot``.

        Raises:
            Lost: it does not load.
        """
        request = {**self.load_request, "signature": signature.as_json(), "slot": slot,
                   "flags": not self.flags}  # fmt: skip
        answer, _ = self.ask(request)
        self.flags, self.signature = self.flags or dict(answer["flags"]), signature
        if state:
            self.set_state(state, slot)

    def set_state(
        self, state: Sequence[torch.Tensor], slot: int = 0, in_place: bool = False
    ) -> None:
        """Give an instance its weights; ``in_place`` into the memory of the old ones.

        Raises:
            Lost: the runner has died.
        """
        self.ask({"do": "state", "slot": slot, "in_place": in_place}, state)

    def supply(self, artefact: Path, slot: int = 0) -> None:
        """Give an instance what was built for another use of its kernel.

        Raises:
            Lost: the runner has died, or its kernel was built for every use.
        """
        built = torch.frombuffer(bytearray(artefact.read_bytes()), dtype=torch.uint8)
        self.ask({"do": "supply", "slot": slot}, [built])

    def _enter_cage(self, artefact: Path, placement: Placement) -> None:
        answer = self._made_ready(
            {"do": "cage", "artefact": str(artefact), "layers": placement.layers,
             "gpu": placement.accelerator}, "be locked up",
        )  # fmt: skip
        self.isolation, self.layers = int(answer["isolation"]), tuple(answer["layers"])

    def _made_ready(self, request: dict[str, Any], what: str) -> dict[str, Any]:
        try:
            return self.ask(request, timeout_s=START_TIMEOUT_S)[0]
        except Lost as lost:  # no word of the kernel's has run yet
            self.close()
            raise MachineError(f"a runner cannot {what}: {lost}") from lost


def _death(status: int, text: str) -> str:
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"ended with exit code {status}: {text}"
