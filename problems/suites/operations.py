"""The operations between the matrix products of today's models, at three sizes each.

``small`` lives in a core's own caches, ``medium`` in the shared cache, and
``large`` streams from memory.  Each file is written as models write it.
"""

from __future__ import annotations

from pathlib import Path

from kernelite.problems.problem import Problem, read, workloads

FOLDER = Path(__file__).resolve().parent / "_operations"


def problems() -> list[Problem]:
    """One problem per file and workload, by file name, then from small to large."""
    files = sorted(FOLDER.glob("*.py"))
    return [read(path, workload) for path in files for workload in workloads(read(path))]
