"""What ``kernelite check --target`` adds: a kernel compiled for GPUs that need not be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.errors import UsageError
from kernelite.harness import crosscompile
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target, find
from kernelite.problems.problem import Problem

BACKEND = "triton"
NUMBERS = ("registers", "spilled", "shared", "occupancy")
COLUMNS = ("kernel", "configuration", *NUMBERS, "loads", "instructions", "code")
UNKNOWN = "?"


def asked(names: Sequence[str], kernel: Kernel) -> list[Target]:
    """The targets of those names, each once.

    Raises:
        UsageError: a name that there is not, or a kernel that is not compiled for targets.
    """
    found = list({str(target): target for target in map(find, names)}.values())
    if found and kernel.backend != BACKEND:
        raise UsageError(
            f"--target is for the backend {BACKEND}; this kernel's is {kernel.backend}"
        )
    return found


def compiled(kernel: Kernel, problem: Problem, targets: Sequence[Target]) -> list[dict[str, Any]]:
    """What came of each target, as JSON values.

    Raises:
        UsageError: the problem's file does not run.
        MachineError: the installed Triton is not one that is known, or a process cannot be started.
    """
    if not targets:
        return []
    with closing(crosscompile.server()) as server:
        report = crosscompile.crosscompile(server, kernel, problem, targets)
    return [one.as_json() for one in report.targets]


def view(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table for each target."""
    return Group(*(part for one in found for part in _parts(one)))


def _parts(one: Mapping[str, Any]) -> list[RenderableType]:
    title = f"Compiled for {one['target']} ({one['device']}), not run"
    made = tables.table(title, *COLUMNS, numbers=NUMBERS)
    for configuration in one["configurations"]:
        made.add_row(*map(tables.plain, _row(configuration)))
    parts: list[RenderableType] = [made]
    own = [configuration["trouble"] for configuration in one["configurations"]]
    for trouble in dict.fromkeys(map(_said, filter(None, [one["trouble"], *own]))):
        parts.append(tables.plain(trouble, "red"))
    if any(configuration["occupancy"] for configuration in one["configurations"]):
        parts.append(tables.plain(f"occupancy is modelled: {one['occupancy_source']}"))
    return parts


def _row(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    binary, room = configuration["binary"], configuration["occupancy"]
    constants = ", ".join(f"{name} {value}" for name, value in configuration["constants"].items())
    loads = binary["load_bits"]
    return (
        configuration["kernel"],
        f"{constants}; {configuration['warps']} warps, {configuration['stages']} stages",
        _number(binary["registers"]),
        _number(binary["spill_store_bytes"], " B"),
        _number(configuration["shared_bytes"], " B"),
        f"{room['fraction']:.0%} ({', '.join(room['limiters'])})" if room else UNKNOWN,
        UNKNOWN if loads is None else ", ".join(f"{n} of {bits} bit" for bits, n in loads.items()),
        ", ".join(f"{name} {n}" for name, n in (binary["instructions"] or {UNKNOWN: ""}).items()),
        binary["code"] or UNKNOWN,
    )


def _number(value: int | None, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value}{unit}"


def _said(trouble: Mapping[str, Any]) -> str:
    line = f", line {trouble['line']}" if trouble["line"] else ""
    return f"{trouble['kind']}{line}: {trouble['text']}"
