"""What runs candidate code: one forked child per evaluation.

It gets a kernel, a signature and input tensors; it never sees what is
expected, which seeds come next or how its answers are judged.  It answers
requests on one socket until that closes.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernelite.harness import (
    cage,
    contents,
    flags,
    gradients,
    guards,
    launches,
    processors,
    sanitizer,
    trace,
    watchdog,
    wire,
    workshop,
)
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed, Entry, Kernel, Use
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

CPU_S = 600
HELD = 4  # calls whose outputs are kept


def main(sock: socket.socket, scratch: Path) -> NoReturn:
    """Serve one judge and exit without running any of the server's cleanup."""
    try:
        os.setsid()
        watchdog.volunteer()
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
        self.entries: dict[int, Entry] = {}
        self.states: dict[int, list[torch.Tensor]] = {}
        self.inputs: list[torch.Tensor] = []
        self.draws: list[list[torch.Tensor]] = []
        self.slots: list[tuple[list[torch.Tensor], list[contents.Write]]] = []
        self.answers: list[list[torch.Tensor]] = []
        self.processor = processors.opened("cpu")
        self.looks: dict[int, tuple[TensorSpec, ...]] = {}
        self.guards = guards.Guards(self.processor.device)
        self.replays: Entry | None = None

    def serve(self) -> NoReturn:
        """Answer requests for ever; `wire.Broken` ends it."""
        while True:
            header, tensors = wire.receive(self.sock)
            try:
                answer, results = getattr(self, "do_" + header["do"])(header, tensors)
            except Exception as error:  # noqa: BLE001  candidate code may raise anything
                text = str(error) or traceback.format_exc(limit=-1)
                kind = "build" if type(error) is BuildFailed else type(error).__name__
                answer, results = {"error": text[-4000:], "kind": kind}, []
            wire.send(self.sock, answer, results)

    def do_cage(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Close the cage, which must come before any thread and any word of the candidate.

        What a candidate prints must not fill the disk under the server's log.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        readable = [Path(header["artefact"])] if "artefact" in header else []
        closed = cage.close(
            self.scratch, readable, watchdog.limit_bytes(), CPU_S, header["layers"],
            gpu=header["gpu"],
        )  # fmt: skip
        return {"isolation": closed.level, "layers": list(closed.layers)}, []

    def do_processor(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Go over to another device than the CPU; its clock must be ready before a candidate is."""
        self.processor = processors.opened(header["device"])
        self.guards = guards.Guards(self.processor.device)
        return {**self.processor.about, "threads": len(os.listdir("/proc/self/task"))}, []

    def do_watch(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """What a tool says of one call, in a network that ends here, by `do_cage`."""
        cage.raise_loopback()
        text, code = sanitizer.watch(header, tensors, self.scratch)
        return {"text": text, "code": code}, []

    def do_workshop(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Enter the cage in which kernels are built for a GPU."""
        workshop.enter(self.scratch, header["layers"], True, header["own_processes"])
        return {}, []

    def do_build(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Build a kernel and answer the artefact's bytes; on a GPU if there is a ``use``."""
        use = Use.from_json(header["use"]) if "use" in header else None
        if use is None:
            workshop.enter(self.scratch)
        kernel = Kernel(header["backend"], header["source"])
        built = backend(kernel.backend).build(kernel, use).read_bytes()
        return {}, [torch.frombuffer(bytearray(built), dtype=torch.uint8)]

    def do_crosscompile(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Compile a kernel for a device that is not there; see `harness.crosscompile`."""
        from kernelite.kernels.targets import compiling  # heavy: it imports Triton

        workshop.enter(self.scratch)
        return compiling.answer(header, self.scratch), []

    def do_load(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Load the kernel, as one more instance if ``slot`` says so."""
        kernel = Kernel(header["backend"], header["source"])
        torch.set_num_threads(header["threads"])
        before = self._flags() if header["flags"] else {}
        signature = Signature.from_json(header["signature"])
        entry = backend(kernel.backend).load(kernel, Path(header["artefact"]), signature)
        processors.adopt(entry, self.processor)
        slot = header.get("slot", 0)
        self.entries[slot], self.states[slot] = entry, []
        self.looks[slot] = signature.outputs
        return {"flags": before}, []

    def do_supply(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Take what was built for another use of an instance of the kernel."""
        supply = getattr(self.entries[header["slot"]], "supply", None)
        if supply is None:
            raise BuildFailed("kernels of this backend are built once for all calls")
        supply(tensors[0].numpy().tobytes())
        return {}, []

    def do_flags(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """What a kernel must leave as it is in the process that calls it."""
        return {"flags": self._flags()}, []

    def _flags(self) -> dict[str, Any]:
        return flags.now() | self.processor.flags()

    def do_unload(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """Give all instances up, as a process does at its end: what they left for then happens."""
        entries, self.entries = list(self.entries.values()), {}
        self.states, self.answers, self.inputs = {}, [], []
        while entries:
            if close := getattr(entries.pop(), "close", None):
                close()
        gc.collect()
        return {}, []

    def do_state(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Hold this state for the calls that follow; ``in_place`` as load_state_dict does."""
        slot = header.get("slot", 0)
        if header.get("in_place"):
            for old, new in zip(self.states[slot], tensors, strict=True):
                old.copy_(new)
        else:
            self.states[slot] = self._placed(tensors)
        return {}, []

    def _placed(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self.processor.placed(tensor) for tensor in tensors]

    def do_call(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Call once; answer the outputs and, if asked, the arguments as they are afterwards.

        With ``reuse`` the inputs take the storage of those before them, unseen by
        version counters.
        """
        if header.get("reuse"):
            tensors = [
                self._overwritten(old, new) for old, new in zip(self.inputs, tensors, strict=True)
            ]
        elif header.get("echo"):
            tensors = [self.guards.tensor(TensorSpec.of(one)).copy_(one) for one in tensors]
        else:
            tensors = self._placed(tensors)
        self.inputs, slot = tensors, header.get("slot", 0)
        results = self._called(slot, tensors, header.get("late", False))
        self.answers = [*self.answers[1 - HELD :], results]
        arguments = [*tensors, *self.states[slot]]
        echo = [*arguments, self.guards.around()] if header.get("echo") else []
        self.guards.held.clear()
        return {"outputs": len(results)}, self.processor.fetched([*results, *echo])

    def _called(self, slot: int, inputs: list[torch.Tensor], late: bool) -> list[torch.Tensor]:
        entry, state = self.entries[slot], self.states[slot]
        self.processor.poison(self.looks[slot])
        if late:
            return self.processor.late(lambda given: entry([*given, *state]), inputs)
        return processors.plain(
            entry([*inputs, *state], self.guards.poisoned), self.processor.device
        )

    def _overwritten(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """``old`` with ``new``'s contents, if both look alike and every element is its own."""
        if TensorSpec.of(old) != TensorSpec.of(new) or 0 in old.stride():
            return self.processor.placed(new)
        old.data.copy_(new)  # .data has a version counter of its own
        return old

    def do_trace(self, _: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Call once and answer what was dispatched and launched; see `harness.trace`."""
        arguments = [*self._placed(tensors), *self.states[0]]
        found = trace.traced(self.entries[0], arguments)
        return {"operators": found.operators, "launches": found.launches}, []

    def do_ablate(self, _: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Call once without its launches and answer the outputs; see `harness.trace`."""
        arguments = [*self._placed(tensors), *self.states[0]]
        return {}, self.processor.fetched(trace.ablated(self.entries[0], arguments))

    def do_profile(self, _: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """The kernels that a call launches; see `harness.launches`."""
        arguments = [*self._placed(tensors), *self.states[0]]
        return {"launches": launches.watched(lambda: self.entries[0](arguments), self.scratch)}, []

    def do_gradients(self, header: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """The gradients of all float arguments; behind the inputs come the cotangents."""
        placed = self._placed(tensors)
        inputs, cotangents = placed[: header["inputs"]], placed[header["inputs"] :]
        function = getattr(self.entries[0], "differentiable", None)
        if function is None:
            raise BuildFailed("kernels of this backend have no gradients")
        found = gradients.of(function, [*inputs, *self.states[0]], cotangents)
        return {}, self.processor.fetched(found)

    def do_held(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """The outputs of the last call, or of as many calls back, as they are now."""
        return {}, self.processor.fetched(self.answers[-header["back"]])

    def do_draw(self, _: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """Keep one more set of inputs as the problem drew it, for `do_slots`."""
        self.draws.append(tensors)
        return {}, []

    def do_slots(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Make so many places for inputs of timed calls, to be filled from the draws."""
        self.inputs, self.answers = [], []
        source = contents.Contents(self.draws, self.processor.placed)
        made = [source.slot() for _ in range(header["slots"])]
        self.slots = [([*tensors, *self.states[0]], writes) for tensors, writes in made]
        self.draws = []
        return {}, []

    def do_capture(self, _: dict[str, Any], __: list[torch.Tensor]) -> Any:
        """Make replays of the slots' calls, for samples that ask for them."""
        places = [arguments for arguments, _ in self.slots]
        self.replays = self.processor.captured(self.entries[0], places)
        return {}, []

    def do_time(self, header: dict[str, Any], _: list[torch.Tensor]) -> Any:
        """Call ``calls`` times, each time with the next slot, newly filled.

        Answers in ns what was between the calls, all together, and what each took.
        The outputs of the call that ``keep`` names are held.
        """
        first, slots = header["first"], self.slots
        chosen = contents.chosen(header["seed"], header["calls"], len(slots[0][1]))
        turns = [(*slots[(first + i) % len(slots)], numbers) for i, numbers in enumerate(chosen)]
        entry = self.replays if header["graph"] and self.replays else self.entries[0]
        calls = processors.Calls(entry, turns, header["cold"], header["keep"])
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        times = self.processor.sample(calls)
        switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switched
        if header["keep"] >= 0:
            self.answers = [times.kept]
        return {"ns": [times.between, *times.spent], "switches": switched}, []
