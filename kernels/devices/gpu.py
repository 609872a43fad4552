"""Which GPU is meant, and what is known of it: from the tables, or from its driver.

``gpus`` holds a file for each device, ``architectures`` one for what all
devices of a kind share.  Nothing here imports torch: the properties that it
shows of a device come in as an argument.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from kernelite.errors import UsageError
from kernelite.kernels.devices.specification import Figure, Gpu, Limits

GPUS = Path(__file__).with_name("gpus")
ARCHITECTURES = Path(__file__).with_name("architectures")
#: What a unit of the tables is worth, and the unit that values are kept in.  A vendor's GB of
#: memory is 2**30 bytes, as drivers show: the 80 GB of an H100 are 80 GiB, less what is reserved.
UNITS = {
    "bytes": (1, "bytes"), "KiB": (1 << 10, "bytes"), "MiB": (1 << 20, "bytes"),
    "GiB": (1 << 30, "bytes"), "GB/s": (1e9, "bytes/s"), "TB/s": (1e12, "bytes/s"),
    "Tflops/s": (1e12, "flops/s"), "Pflops/s": (1e15, "flops/s"),
    "Tops/s": (1e12, "ops/s"), "Pops/s": (1e15, "ops/s"), "MHz": (1e6, "Hz"),
    **{count: (1, count) for count in
       "threads warps blocks registers partitions multiprocessors".split()},
}  # fmt: skip
#: Figures among torch's properties of a device: where, what one is worth, in which unit.
PROBED = {
    "warp_size": ("warp_size", 1, "threads"),
    "threads_per_multiprocessor": ("max_threads_per_multi_processor", 1, "threads"),
    "registers_per_multiprocessor": ("regs_per_multiprocessor", 1, "registers"),
    "shared_per_multiprocessor": ("shared_memory_per_multiprocessor", 1, "bytes"),
    "shared_per_block": ("shared_memory_per_block", 1, "bytes"),
    "shared_per_block_optin": ("shared_memory_per_block_optin", 1, "bytes"),
    "multiprocessors": ("multi_processor_count", 1, "multiprocessors"),
    "memory": ("total_memory", 1, "bytes"),
    "l2": ("L2_cache_size", 1, "bytes"),
    "clock": ("clock_rate", 1000, "Hz"),
}
#: Not to be had from AMD's driver: the L2 that it shows is one die's
#: (https://github.com/ROCm/ROCm/issues/4203), and HBM3 moves four words a clock of its.
NOT_AT_AMD = {"l2", "bandwidth"}
#: What a name may carry without meaning another GPU.
NOISE = re.compile(r"nvidia|geforce|amd|instinct|[^a-z0-9]")


def known() -> tuple[Gpu, ...]:
    """Every GPU of the tables."""
    return tuple(_gpus().values())


def architectures() -> tuple[Gpu, ...]:
    """Every architecture of the tables: its limits, and no device's figures."""
    return tuple(_architectures().values())


def find(name: str) -> Gpu:
    """The GPU or architecture called ``h200``, ``NVIDIA H200``, ``sm_90``, ``hip:gfx942``.

    Raises:
        UsageError: there is none; the message names the nearest, and all there are.
    """
    if found := _index().get(_key(name)):
        return found
    names = [*_gpus(), *_architectures()]
    near = get_close_matches(_key(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no GPU {name!r} in the tables; {hint}there are: {', '.join(names)}")


def detect(properties: Any) -> Gpu:
    """The GPU with these ``torch.cuda.get_device_properties``.

    The table's of that name, unless the driver shows another number of multiprocessors:
    then it is a slice of one or another edition, and only what is probed is true of it.
    """
    found = _index().get(_key(properties.name))
    count = found.multiprocessors if found else None
    if found and count and count.value == properties.multi_processor_count:
        return found
    return probed(properties)


def probed(properties: Any) -> Gpu:
    """A GPU that is in no table, from its ``torch.cuda.get_device_properties``.

    Peaks stay unknown; limits come from its architecture where that is known.
    """
    gcn = str(getattr(properties, "gcnArchName", "")).partition(":")[0]
    amd = gcn.startswith("gfx")
    arch = gcn if amd else f"sm_{properties.major}{properties.minor}"
    seen: dict[str, Any] = dict(_seen(properties))
    if amd:
        seen = {name: figure for name, figure in seen.items() if name not in NOT_AT_AMD}
    limits = _architectures()[arch].limits if arch in _architectures() else Limits()
    unknown = {limit.name for limit in fields(Limits) if getattr(limits, limit.name) is None}
    limits = replace(limits, **{name: seen[name] for name in unknown & seen.keys()})
    device = {name: seen[name] for name in {part.name for part in fields(Gpu)} & seen.keys()}
    return Gpu(properties.name, arch, limits, **device)


def _seen(properties: Any) -> Iterator[tuple[str, Figure]]:
    """What the driver shows; 0 is its way of not telling."""
    for name, (attribute, scale, unit) in PROBED.items():
        if value := getattr(properties, attribute, 0):
            yield name, Figure(scale * value, unit, f"torch.cuda, {attribute}", kind="probed")
    clock_khz = getattr(properties, "memory_clock_rate", 0)
    if both := clock_khz * getattr(properties, "memory_bus_width", 0):
        source = "torch.cuda, 2 x memory_clock_rate x memory_bus_width"
        yield "bandwidth", Figure(2 * 1000 * both / 8, "bytes/s", source, kind="probed")


@cache
def _index() -> dict[str, Gpu]:
    """By every spelling of every name."""
    tables = {**_architectures(), **_gpus()}
    return {
        _key(name): gpu for stem, gpu in tables.items() for name in (stem, gpu.name, *gpu.aliases)
    }


def _key(name: str) -> str:
    """What all spellings of a name share."""
    gfx = re.search("gfx[0-9a-f]+", name.lower())
    return gfx[0] if gfx else NOISE.sub("", name.lower())


@cache
def _gpus() -> dict[str, Gpu]:
    return {stem: _gpu(table) for stem, table in _tables(GPUS)}


@cache
def _architectures() -> dict[str, Gpu]:
    return {
        stem: Gpu(table["name"], table["name"], Limits(**_figures(table, "limits")),
                  tuple(table["aliases"]))
        for stem, table in _tables(ARCHITECTURES)
    }  # fmt: skip


def _gpu(table: dict[str, Any]) -> Gpu:
    return Gpu(
        table["name"], table["arch"], _architectures()[table["arch"]].limits,
        tuple(table["aliases"]), vector=_figures(table, "vector"),
        matrix=_figures(table, "matrix"), **_figures(table, "figures"),
    )  # fmt: skip


def _tables(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.toml")):
        yield path.stem, tomllib.loads(path.read_text())


def _figures(table: dict[str, Any], section: str) -> dict[str, Figure]:
    found = {}
    for name, entry in table[section].items():
        scale, unit = UNITS[entry["unit"]]
        source = table["sources"][entry["source"]]
        found[name] = Figure(entry["value"] * scale, unit, source, entry.get("note", ""))
    return found
