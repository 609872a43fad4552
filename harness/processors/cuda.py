"""An NVIDIA GPU: tensors are copied to it, and calls are timed by its own clock.

A runner sees one GPU and calls it ``cuda:0``, whichever it is.  Calls are queued behind other
work, so that the GPU and not Python decides what they take, each between two events and after the
filling of its inputs, in the current stream.  So nobody can work on the inputs of a call ahead of
it, and outputs are copied in that stream, where what nobody waits for is missing.  What is left of
any work when the last call is over, on whichever stream, is waited for and added to it.  Not
counted is only what runs beside the filling of inputs and is over before the last call is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch

from kernelite.harness.processors import Call, Calls, Times, Turn, plain
from kernelite.harness.processors._driver import Driver, Marks
from kernelite.kernels.kernel import Allocate, Entry
from kernelite.problems.tensors import TensorSpec

VISIBLE = "CUDA_VISIBLE_DEVICES"
SMALLEST_FLUSH_BYTES = 256 << 20
#: PyTorch serves up to 1 MiB from blocks of 2 MiB and up to 10 MiB from blocks of 20 MiB.
POISONED_BYTES = (1 << 20,) * 4 + (9 << 20,) * 2
NAN_BYTE = 0xFF  # NaN in each float type, -1 in each signed integer
#: Passes over the flush buffer keep a stream busy, 1 ms and 25 ms on an H200, longer elsewhere.
LEAD_PASSES, BUSY_PASSES = 8, 200
TOGETHER = 64  # calls that are queued within the first of these times, or little more
BEGIN, END = 2 * TOGETHER, 2 * TOGETHER + 1  # marks behind those of the calls


def flush_bytes(cache_bytes: int) -> int:
    """How much to write so that nothing of what was in a level-2 cache of this size is left."""
    return max(2 * cache_bytes, SMALLEST_FLUSH_BYTES)


def visible(index: int, listed: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES must be for one GPU alone, given what it is now."""
    return listed.split(",")[index].strip() if listed else str(index)


def copied(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of the tensor's whole memory on the device, and the same view of it."""
    held = _bytes(tensor).to(device, copy=True).untyped_storage()
    made = torch.empty(0, dtype=tensor.dtype, device=device)
    return made.set_(held, tensor.storage_offset(), tensor.shape, tensor.stride())


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """All memory that the tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


class Replays:
    """An entry as CUDA graphs, one for each list of arguments, whose contents may change."""

    def __init__(self) -> None:
        self.graphs: dict[int, tuple[Any, list[torch.Tensor]]] = {}

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        """Replay the graph of these; its outputs lie where they did before."""
        graph, outputs = self.graphs[id(arguments)]
        graph.replay()
        return outputs


class Cuda:
    """See `harness.processors.Processor`.

    Convolutions are told not to round to TF32, as PyTorch tells matrix products by default:
    candidates and baselines must earn the accuracy that the reference on the CPU has.
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda", 0)
        properties = torch.cuda.get_device_properties(self.device)
        size = flush_bytes(properties.L2_cache_size)
        self.flush = torch.zeros(size, dtype=torch.uint8, device=self.device).add_(1)
        self.other = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        torch.backends.cudnn.allow_tf32 = False
        driver = Driver()
        self.marks = Marks(driver, END + 1)
        self.about = {"name": properties.name, "pci": driver.bus_id()}
        torch.cuda.synchronize()

    def placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy in the GPU's memory."""
        return copied(tensor, self.device)

    def fetched(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Copies on the CPU; they wait for the current stream, and for no other."""
        return [tensor.cpu() for tensor in tensors]

    def poison(self, looks: Sequence[TensorSpec]) -> None:
        """Fill PyTorch's cache of free memory, and nothing but NaN is in it."""
        torch.cuda.empty_cache()
        sizes = [*POISONED_BYTES, *(look.nbytes for look in looks)]
        held = [torch.full((size,), NAN_BYTE, dtype=torch.uint8, device=self.device)
                for size in sizes]  # fmt: skip
        torch.cuda.synchronize()
        held.clear()

    def late(self, call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The call on a stream that is busy, then gets the inputs, then may begin.

        Who launches on another stream than the current one, or does not wait for it, finds NaN
        and zeros there.  The first call is for what a stream needs once.
        """
        arriving = [copied(tensor, self.device) for tensor in inputs]
        with torch.cuda.stream(self.other):
            call(inputs)
        for tensor in arriving:
            _bytes(tensor).fill_(NAN_BYTE if tensor.is_floating_point() else 0)
        torch.cuda.synchronize()
        with torch.cuda.stream(self.other):
            for _ in range(BUSY_PASSES):
                self.flush.add_(1)
            for tensor, own in zip(arriving, inputs, strict=True):
                _bytes(tensor).copy_(_bytes(own))
            answers = [answer.clone() for answer in plain(call(arriving), self.device)]
        torch.cuda.synchronize()
        return answers

    def captured(self, entry: Entry, places: Sequence[list[torch.Tensor]]) -> Entry:
        """CUDA graphs, captured on a stream of PyTorch's after a first call on another one."""
        made = Replays()
        for arguments in places:
            with torch.cuda.stream(self.other):
                entry(arguments)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = plain(entry(arguments), self.device)
            made.graphs[id(arguments)] = graph, outputs
        torch.cuda.synchronize()
        return made

    def flags(self) -> dict[str, Any]:
        """The current device and stream, cuDNN's switches, and the GPU's random numbers."""
        dnn = torch.backends.cudnn
        return {
            "current GPU": torch.cuda.current_device(),
            "current stream": torch.cuda.current_stream().cuda_stream,
            "cuDNN": [dnn.enabled, dnn.benchmark, dnn.deterministic, dnn.allow_tf32],
            "the GPU's random numbers": sha256(
                torch.cuda.get_rng_state().numpy().tobytes()
            ).hexdigest()[:16],
        }

    def sample(self, calls: Calls) -> Times:
        """Some calls at a time, as many as the GPU can be kept busy for."""
        spent, between, kept = list[int](), 0, list[torch.Tensor]()
        for first in range(0, len(calls.turns), TOGETHER):
            turns = calls.turns[first : first + TOGETHER]
            took, rest, found = self._together(calls, turns, calls.keep - first)
            spent, between, kept = spent + took, between + rest, kept or found
        return Times(between, spent, kept)

    def _together(
        self, calls: Calls, turns: Sequence[Turn], keep: int
    ) -> tuple[list[int], int, list[torch.Tensor]]:
        """What each call took, what the rest did, and copies of the outputs of call ``keep``."""
        kept, marks = list[torch.Tensor](), self.marks
        marks.wait()
        marks.set(BEGIN)
        for _ in range(LEAD_PASSES):
            self.flush.add_(1)
        for index, (arguments, writes, numbers) in enumerate(turns):
            for write, (one, two) in zip(writes, numbers, strict=True):
                write(one, two)
            if calls.cold:
                self.flush.add_(1)
            marks.set(2 * index)
            results = calls.entry(arguments)
            marks.set(2 * index + 1)
            if index == keep:
                kept = [result.clone() for result in plain(results, self.device)]
        marks.wait()
        marks.set(END)
        marks.wait()
        spent = [marks.ns(2 * index, 2 * index + 1) for index in range(len(turns))]
        spent[-1] += marks.ns(2 * len(turns) - 1, END)
        return spent, marks.ns(BEGIN, END) - sum(spent), kept


class _Kind:
    """See `harness.processors.Kind`."""

    def names(self) -> list[str]:
        """As many as PyTorch counts."""
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def missing(self) -> str:
        """A build of PyTorch without CUDA, or a machine without a GPU or its driver."""
        if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
            return f"PyTorch {torch.__version__} is built without CUDA"
        return "" if torch.cuda.device_count() else "PyTorch finds no NVIDIA GPU with a driver"

    def open(self, index: int) -> Cuda:
        """Start CUDA in this process, which must not have done so before."""
        os.environ[VISIBLE] = visible(index, os.environ.get(VISIBLE))
        torch.cuda.init()  # type: ignore[no-untyped-call]
        return Cuda()


KIND = _Kind()
