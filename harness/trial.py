"""Can a GPU be used from inside the cage?  It is tried, before any candidate is loaded.

Whether CUDA starts behind every wall depends on the driver.  Walls that it cannot stand are left
out for all runners of a judge, and no verdict claims them.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernelite.errors import MachineError
from kernelite.harness.cage import LAYERS, level_of
from kernelite.harness.placement import CPU, Placement
from kernelite.harness.remote import Line, Lost, Server

TIMEOUT_S = 120.0
#: What to do without, until the device can be used: the higher the level that remains, the sooner.
LEFT_OUT: tuple[tuple[str, ...], ...] = (
    (), ("namespaces",), ("landlock",), ("seccomp",), ("seccomp", "landlock"), LAYERS[1:],
)  # fmt: skip


def placement(server: Server, device: str, least: int = 0) -> Placement:
    """How the server's runners can use the device, at isolation level ``least`` or above.

    Raises:
        MachineError: they cannot.
    """
    if device == CPU.device:
        return CPU
    kept = [tuple(name for name in LAYERS if name not in left_out) for left_out in LEFT_OUT]
    for layers in (layers for layers in kept if level_of(layers) >= least):
        try:
            with Line(server, TIMEOUT_S) as line:
                line.ask({"do": "cage", "layers": layers, "gpu": True})
                about, _ = line.ask({"do": "processor", "device": device})
        except Lost as lost:
            why = str(lost)
            continue
        name, pci = str(about["name"]), str(about["pci"])
        return Placement(device, name, pci, layers, _own_processes(server, device, layers))
    raise MachineError(f"a runner at isolation level {least} or above cannot use {device}: {why}")


def _own_processes(server: Server, device: str, layers: Sequence[str]) -> bool:
    """Whether a build can use the device from a namespace of processes."""
    try:
        with Line(server, TIMEOUT_S) as line:
            line.ask({"do": "workshop", "layers": layers, "own_processes": True})
            line.ask({"do": "processor", "device": device})
    except Lost:
        return False
    return True
