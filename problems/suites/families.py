"""What GPU kernels are written for: one file per family, at small and at large shapes.

``small_*`` workloads fit an interpreter and have odd remainders; ``large_*``
are shapes of models and those that AutoKernel published.  A file whose name
ends in ``_backward`` computes gradients from what the forward pass was given.
"""

from __future__ import annotations

from pathlib import Path

from kernelite.problems.problem import Problem, read, workloads

FOLDER = Path(__file__).resolve().parent / "_families"


def names() -> list[str]:
    """The families there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def family(name: str, size: str = "") -> list[Problem]:
    """The problems of one family, of ``size`` ``small`` or ``large`` alone if it is given."""
    path = FOLDER / f"{name}.py"
    return [read(path, w) for w in workloads(read(path)) if w.startswith(size)]


def problems() -> list[Problem]:
    """One problem per file and workload, by file name, in the files' order."""
    return [problem for name in names() for problem in family(name)]
