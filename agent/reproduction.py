"""A failure as a folder that anybody can run again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelite.agent import documents
from kernelite.errors import MachineError
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

README = """\
# {problem}: failed at {stage}

{reason}: {log}

`candidate{suffix}` was judged on `problem.py` with the inputs of seed {seed}, at isolation
level {isolation}. The whole verdict is in `verdict.json`. Judge it again:

    {command}
"""


def write(
    parent: Path, kernel: Kernel, problem: Problem, document: Mapping[str, Any]
) -> Path:  # fmt: skip
    """Write candidate, problem, verdict and the command; the folder.

    Raises:
        MachineError: it cannot be written.
    """
    folder = parent / f"{problem.id}-{kernel.id}"
    suffix = backend(kernel.backend).suffix
    words = [
        "kernelite check", f"candidate{suffix}", "--problem problem.py",
        f"--seed {document['seed']}", f"--policy {document['policy']}",
    ]  # fmt: skip
    words += [f"--workload {problem.workload}"] if problem.workload else []
    words += [] if document["device"] == "cpu" else [f"--device {document['device']}"]
    words += [] if document["timing"] or document["stage"] == "timing" else ["--no-timing"]
    text = README.format(
        problem=problem.name, stage=document["stage"], reason=document["reason"],
        log=document["log"], suffix=suffix, seed=document["seed"],
        isolation=document["isolation"], command=" ".join(words),
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"candidate{suffix}").write_text(kernel.source)
        (folder / "problem.py").write_text(problem.source)
        (folder / "verdict.json").write_text(documents.text(dict(document)))
        (folder / "README.md").write_text(text)
    except OSError as error:
        raise MachineError(f"cannot keep the failure in {folder}: {error.strerror}") from error
    return folder
