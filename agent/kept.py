"""What a run's folder holds besides its log: the model's file, and kernels as files of their own.

The log has it all but the model; the rest is for people, and for machines where the model is not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kernelite.kernels.backends import backend
from kernelite.problems.problem import Problem
from kernelite.results import log
from kernelite.results.fold import fold


def model_file(folder: Path, target: str) -> Path:
    """Where the run in ``folder`` keeps the file of its target."""
    return folder / "model" / Path(target.partition(":")[0]).name


def keep_model(folder: Path, target: str) -> None:
    """Copy the target's file, once; what it imports from beside it is not copied."""
    copy = model_file(folder, target)
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(target.partition(":")[0], copy)


def available(folder: Path, target: str) -> str:
    """The target where it was, or else in the run's folder."""
    path, colon, factory = target.partition(":")
    copy = model_file(folder, target)
    return f"{copy}{colon}{factory}" if copy.is_file() and not Path(path).is_file() else target


def keep_problem(folder: Path, problem: Problem) -> None:
    """Write a problem's file."""
    (folder / "problems").mkdir(exist_ok=True)
    (folder / "problems" / f"{problem.name}.py").write_text(problem.source)


def keep_kernels(folder: Path) -> None:
    """Write each site's winner, or its kernels to time in their order, under its problem's name."""
    (folder / "kernels").mkdir(exist_ok=True)
    for site in fold(log.read(folder)).sites:
        chosen = [site.winning_attempt] if site.winning_attempt else site.shortlist
        stem = Path(site.captured.file).stem if site.captured else site.problem
        for number, attempt in enumerate(chosen, start=1):
            made = attempt.candidate
            name = f"{stem}_{number}_{made.id}{backend(made.backend).suffix}"
            (folder / "kernels" / name).write_text(made.source)
