"""Cheats and honest kernels as files that say what they are.

A corpus is a folder with ``problems/``, ``honest/`` and one folder per group of
cheats.  The comments of each file name its ``problem:``, may name a
``policy:`` and a public ``seed:`` that it knows, and for a cheat what it is
``caught:`` by: a stage and a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kernelite.errors import UsageError
from kernelite.harness.verdict import Reason
from kernelite.kernels.backends import backend_of
from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import Policy
from kernelite.problems.problem import Problem, read

HONEST = "honest"
GROUPS = ("timing", "correctness", "fallback", "tampering", "security")


@dataclass(frozen=True, slots=True)
class Specimen:
    """One file of the corpus.

    Attributes:
        seed: Of the inputs that it is first judged with; None for a secret one.
        stage: That must catch it; empty if it is honest.
        reason: The same for the reason.
    """

    path: Path
    group: str
    problem: str
    policy: Policy | None
    seed: int | None
    stage: str
    reason: str

    @property
    def name(self) -> str:
        """Group and file."""
        return f"{self.group}/{self.path.name}"

    def kernel(self) -> Kernel:
        """The candidate; text that is not UTF-8 arrives as it can."""
        text = self.path.read_text(errors="surrogateescape")
        return Kernel(backend_of(self.path, text), text)


def specimens(folder: Path) -> list[Specimen]:
    """Every file of the corpus, group by group.

    Raises:
        UsageError: there is no corpus, or a file does not say what it is.
    """
    if not (folder / "problems").is_dir():
        raise UsageError(
            f"no corpus in {folder}; give one: kernelite bench redteam --corpus FOLDER"
        )
    return [
        _specimen(path, group)
        for group in (*GROUPS, HONEST)
        for path in sorted((folder / group).glob("*"))
        if path.suffix in (".py", ".cpp")
    ]


def problems(folder: Path) -> dict[str, Problem]:
    """The corpus's problems by name."""
    return {path.stem: read(path) for path in sorted((folder / "problems").glob("*.py"))}


def _specimen(path: Path, group: str) -> Specimen:
    text = path.read_text(errors="surrogateescape")
    problem = _told(path, text, "problem")
    policy = _told(path, text, "policy")
    caught = (_told(path, text, "caught") or "").split()
    if problem is None or (group != HONEST and len(caught) != 2):
        raise UsageError(f"{path} does not say its problem, or what it is caught by")
    stage, reason = caught if caught else ("", "")
    if reason and reason not in list(Reason):
        raise UsageError(f"{path}: no reason {reason!r}; there are: {', '.join(Reason)}")
    seed = _told(path, text, "seed")
    return Specimen(
        path, group, problem, Policy(policy) if policy else None, int(seed) if seed else None,
        stage, reason,
    )  # fmt: skip


def _told(path: Path, text: str, field: str) -> str | None:
    """What stands behind ``field:`` in the comments of a file."""
    found = re.search(rf"^(?:#|//) {field}: (.+)$", text, re.MULTILINE)
    return found and found[1].strip()
