"""What the commands print with ``--json``, where no other module has the document already.

Every document names its schema; what is unknown is null.  Imports nothing heavy.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

from kernelite import __version__
from kernelite.agent.doctor import Finding
from kernelite.results.archive import Entry, FoundCandidate, FoundProblem, StoredRun
from kernelite.results.fold import Attempt
from kernelite.results.records import Profiled

PACKAGES = ("torch", "triton", "transformers", "numpy", "optuna")


def versions() -> dict[str, Any]:
    """``kernelite --version --json``: versions by package, null for what is not installed."""
    found = {name: _version(name) for name in PACKAGES}
    return {"schema": "kernelite.version/1", "kernelite": __version__,
            "python": platform.python_version(), **found}  # fmt: skip


def doctor(findings: Sequence[Finding]) -> dict[str, Any]:
    """``kernelite doctor --json``."""
    return {"schema": "kernelite.doctor/1", "findings": [asdict(f) for f in findings]}


def profile(target: str, profiled: Profiled) -> dict[str, Any]:
    """``kernelite profile --json``; times are in microseconds, for one forward pass."""
    return {"schema": "kernelite.profile/1", "target": target, "kind": "measured",
            **asdict(profiled)}  # fmt: skip


def archive_list(entries: Sequence[Entry], runs: Sequence[StoredRun]) -> dict[str, Any]:
    """``kernelite archive list --json``."""
    broken = [{"folder": str(r.folder), "reason": r.broken} for r in runs if r.broken]
    return {
        "schema": "kernelite.archive-list/1",
        "problems": [_entry(entry) for entry in entries],
        "broken": broken,
    }


def archive_show(found: FoundCandidate | FoundProblem) -> dict[str, Any]:
    """``kernelite archive show --json``: all that is known of one candidate or problem."""
    if isinstance(found, FoundProblem):
        captured = [e.result.captured for e in found.entries if e.result.captured]
        return {
            "schema": "kernelite.archive-show/1", "kind": "problem", "id": found.id,
            "source": captured[0].source if captured else None,
            "runs": [
                _entry(e) | {"candidates": [_attempt(a) for a in e.result.attempts]}
                for e in found.entries
            ],
        }  # fmt: skip
    made = found.attempts[-1][1].candidate
    return {
        "schema": "kernelite.archive-show/1", "kind": "candidate",
        **asdict(made), "lineage": [ancestor.candidate.id for ancestor in found.lineage],
        "runs": [
            {"folder": str(stored.folder), "verdicts": [asdict(v) for v in attempt.verdicts]}
            for stored, attempt in found.attempts
        ],
    }  # fmt: skip


def _entry(entry: Entry) -> dict[str, Any]:
    site, stored = entry.result.site, entry.stored
    return {
        "problem": entry.problem, "label": site.label, "site": site.site,
        "device": stored.run.device, "run": stored.run.started.run, "folder": str(stored.folder),
        "best": _attempt(entry.best) if entry.best else None, "won": entry.won,
        "judged": len(entry.result.attempts),
    }  # fmt: skip


def _attempt(attempt: Attempt) -> dict[str, Any]:
    made, verdict = attempt.candidate, attempt.verdict
    return {
        "id": made.id, "proposer": made.proposer, "backend": made.backend, "label": made.label,
        "verdict": verdict and verdict.verdict, "stage": verdict and verdict.stage,
        "reason": verdict and verdict.reason,
        "timing": asdict(attempt.timing) if attempt.timing else None,
    }  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def text(document: dict[str, Any]) -> str:
    """The document as JSON; what is no finite number becomes null."""
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
