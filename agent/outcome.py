"""What an `optimize` run came to, read back from its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent.tables import plain
from kernelite.results import log, summary, terminal, wording
from kernelite.results.fold import Run, fold


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run.

    Attributes:
        document: What ``--json`` prints.
        view: What a person reads; without the single candidates.
        won: Whether the patched model is verified, and faster than the best baseline; or, for a
            GPU that is not here, whether there are kernels to time on it.
    """

    document: dict[str, Any]
    view: RenderableType
    won: bool


def read(folder: Path) -> Outcome:
    """The outcome of the run in ``folder``.

    Raises:
        UsageError: there is no run.
        MachineError: its log cannot be read.
    """
    run = fold(log.read(folder))
    waiting = run.absent and any(site.shortlist for site in run.sites)
    won = waiting or wording.outcome(run) == "faster"
    return Outcome(summary.document(run), _view(run), won)


def _view(run: Run) -> RenderableType:
    parts = [terminal.summary(run)]
    parts += [terminal.bottlenecks(run)] if run.sites else []
    parts += [terminal.winners(run)] if any(site.decision for site in run.sites) else []
    parts += [terminal.whole_model(run)] if run.verified else []
    parts += [plain(f"fallback: {f.site or 'run'}: {f.reason}", "yellow") for f in run.fallbacks]
    return Group(*parts)
