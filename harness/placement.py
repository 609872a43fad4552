"""Where the kernels of a judge run, and what holds them there."""

from __future__ import annotations

from dataclasses import dataclass

from kernelite.harness.cage import LAYERS


@dataclass(frozen=True, slots=True)
class Placement:
    """One device for all kernels of a judge; `harness.trial` finds out how to use a GPU.

    Attributes:
        device: Its full name, as `harness.processors.require` returns it.
        model: The vendor's name for it; empty for the CPU.
        pci: Where NVML finds it; empty for the CPU.
        layers: Those of the cage that leave it usable.
        own_processes: Whether it can be used from a namespace of processes, as builds have one.
    """

    device: str = "cpu"
    model: str = ""
    pci: str = ""
    layers: tuple[str, ...] = LAYERS
    own_processes: bool = True

    @property
    def kind(self) -> str:
        """Of the device: ``cpu``, ``cuda``."""
        return self.device.partition(":")[0]

    @property
    def accelerator(self) -> bool:
        """Whether it is something else than the CPU."""
        return self.device != "cpu"


CPU = Placement()
