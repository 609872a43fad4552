"""What a runner's tensors live on, and what its calls are timed on: one module per kind of device.

The judge never computes on a GPU.  It holds inputs, reference and oracle on the CPU, and tensors
cross the wire as bytes of the CPU's memory, whatever device they are copied to behind it: so no
stage knows of devices, and a GPU kernel is compared with what the CPU makes of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

import torch

from kernelite import plugins
from kernelite.errors import UsageError
from kernelite.harness.contents import Write
from kernelite.kernels.kernel import Entry
from kernelite.problems.tensors import TensorSpec

#: The arguments of a call to time, what fills them, and the numbers that say with what.
Turn = tuple[list[torch.Tensor], list[Write], list[tuple[int, int]]]
Call = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Calls:
    """One sample.

    Attributes:
        cold: Clear the caches before each call.
        keep: The turn whose outputs are kept; -1 for none.
    """

    entry: Entry
    turns: Sequence[Turn]
    cold: bool
    keep: int


@dataclass(frozen=True, slots=True)
class Times:
    """What a sample took, in ns.

    Attributes:
        between: Filling and clearing, all of it.
        spent: By call.
        kept: Copies of the outputs that were asked for, made as soon as the call returned.
    """

    between: int
    spent: list[int]
    kept: list[torch.Tensor]


class Processor(Protocol):
    """One device in a runner's hands, opened before a word of a candidate's is loaded.

    Attributes:
        device: PyTorch's name for it, inside the runner.
        about: What the judge may want to know of it: ``name``, and ``pci`` for NVML.
    """

    device: torch.device
    about: dict[str, str]

    def placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on this device, laid out as it was, gaps and repetition included."""

    def fetched(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors on the CPU, as they are when the current stream has come so far."""

    def poison(self, looks: Sequence[TensorSpec]) -> None:
        """Make memory that a call allocates for such outputs hold NaN, not an earlier answer."""

    def late(self, call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What a call answers on another current stream, where its inputs arrive late."""

    def flags(self) -> dict[str, Any]:
        """What a kernel must leave as it is, besides `harness.flags`."""

    def captured(self, entry: Entry, places: Sequence[list[torch.Tensor]]) -> Entry:
        """The entry as replays of what one call of it does with each of these arguments.

        The very lists are told apart, not their contents, which may change between calls.
        """

    def sample(self, calls: Calls) -> Times:
        """Make the calls, each with new contents in its arguments."""


@runtime_checkable
class Kind(Protocol):
    """A kind of device; judges ask it what there is, runners open one."""

    def names(self) -> list[str]:
        """Full names of the devices of this kind that PyTorch can use here."""

    def missing(self) -> str:
        """Why there is none; empty if there is one."""

    def open(self, index: int) -> Processor:
        """The device of this number, for this process from now on."""


def require(name: str) -> str:
    """The full name of a device of this machine, ``cuda:0`` for ``cuda``.

    Raises:
        UsageError: there is none such; the message says why and what there is.
    """
    kinds = plugins.names(__name__)
    there = [full for kind in kinds for full in _kind(kind).names()]
    if found := next((full for full in there if full in (name, f"{name}:0")), None):
        return found
    asked = name.partition(":")[0]
    why = missing(asked) if asked in kinds else ""
    raise UsageError(
        f"no device {name!r} here{why and f' ({why})'}; there {'are' if there[1:] else 'is'}:"
        f" {', '.join(there)}; try --device {there[-1]}"
    )


def missing(kind: str) -> str:
    """Why there is no device of a kind; empty if there is one."""
    return _kind(kind).missing()


def opened(name: str) -> Processor:
    """The device with this full name, opened in this process."""
    kind, _, index = name.partition(":")
    return _kind(kind).open(int(index or 0))


def plain(results: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """The results themselves; a subclass could put its work off until somebody looks.

    Raises:
        TypeError: one of them is more than a tensor, or lives elsewhere.
    """
    if not all(type(result) is torch.Tensor for result in results):
        raise TypeError("an output is not exactly a torch.Tensor")
    if elsewhere := [result.device for result in results if result.device.type != device.type]:
        raise TypeError(f"an output is on {elsewhere[0]}, not on {device}")
    return results


def adopt(entry: Entry, processor: Processor) -> None:
    """Move what a kernel's constructor has made to the device, as ``nn.Module.to`` does."""
    move = getattr(entry, "to", None)
    if move is not None:
        move(processor.device)


@cache
def _kind(name: str) -> Kind:
    return plugins.load(__name__, name, "KIND", Kind)  # type: ignore[type-abstract]
