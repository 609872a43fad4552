"""Goes on with a run from its folder: on this machine, or on the one with the GPU it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from kernelite.agent import kept
from kernelite.agent.campaign import Options
from kernelite.agent.places.cuda import present
from kernelite.errors import MachineError, UsageError
from kernelite.harness import processors
from kernelite.kernels.targets import find
from kernelite.results import log, records
from kernelite.results.events import Event


def options(folder: Path) -> Options:
    """What the run in ``folder`` was asked for, so that it goes on.

    Raises:
        UsageError: there is no run, or its log does not say what it was for.
        MachineError: all that is left to do needs a GPU that is not here.
    """
    events = log.read(folder)
    started = [e.body for e in events if isinstance(e.body, records.RunStarted)]
    if not started or not started[-1].options:
        raise UsageError(f"the log in {folder} does not say what was asked for; begin a new run")
    names = {field.name for field in fields(Options)}
    given = {name: value for name, value in started[-1].options.items() if name in names}
    known = Options(**{**given, "out": folder, "sites": tuple(given.get("sites", ()))})
    target = kept.available(folder, known.target)
    wanted = replace(known, target=target, dry_run=False, resume=True)
    if not wanted.gpu:
        return wanted
    if (device := present(find(wanted.gpu))) is not None:
        return replace(wanted, device=device)
    if _searched(events, known):
        why = processors.missing("cuda") or "the GPUs here are others"
        raise MachineError(
            f"the run in {folder} waits for a GPU, {find(wanted.gpu).gpu.name}, that is not here"
            f" ({why}); copy the folder to a machine with one and type there: kernelite resume"
            f" {folder.name}"
        )
    return replace(wanted, device="cpu")


def _searched(events: Sequence[Event], known: Options) -> bool:
    """Whether nothing is left to do without the GPU."""
    return events[-1].kind == "run_finished" and not known.dry_run
