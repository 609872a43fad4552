"""NVIDIA's compute-sanitizer around one call of a kernel: memory beside its tensors, races.

The tool itself is trusted, but runs where there is no network to the outside; the process that it
watches locks itself up (`harness.sanitized`) before it loads the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kernelite.harness.sanitized import FINISHED

NAME = "compute-sanitizer"
FOLDERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
TOOLS = ("memcheck", "racecheck")
TIMEOUT_S = 300.0  # of one tool; loading PyTorch's kernels takes most of it
FOUND = 86  # exit code of the tool if it has found something
OPTIONS = ("--error-exitcode", str(FOUND), "--report-api-errors", "no", "--print-limit", "10",
           "--launch-timeout", "60")  # fmt: skip
ENVIRONMENT = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # then each tensor has limits of its own

SUMMARY = re.compile(r"(?:ERROR SUMMARY: |RACECHECK SUMMARY: .*\()(\d+) errors?\b")
FINDING = re.compile(r"^=+ (Invalid .*|Misaligned .*|Error: Race .*|.*out of bounds.*)$", re.M)


@dataclass(frozen=True, slots=True)
class Report:
    """What the tool said.

    Attributes:
        errors: None if it could not do its work, so that nothing is known.
        text: The first finding, or the last words before the summary.
    """

    errors: int | None
    text: str


def path() -> str | None:
    """Where the tool is installed; None if it is not."""
    folders = os.pathsep.join((os.environ.get("PATH", ""), *FOLDERS))
    return shutil.which(NAME, path=folders)


def parsed(text: str, code: int) -> Report:
    """The report in what the tool printed before it ended with this exit code.

    Neither silence nor a process that ended early is a good answer.
    """
    counts = [int(count) for count in SUMMARY.findall(text)]
    finding = FINDING.search(text)
    if any(counts):
        return Report(sum(counts), finding[1] if finding else "not shown")
    if counts and code == FINISHED:
        return Report(0, "")
    lines = [line.strip("= ") for line in text.splitlines() if not SUMMARY.search(line)]
    said = next((line for line in reversed(lines) if line), "nothing")
    return Report(None, f"exit code {code}, and it said: {said[-200:]}")


def watch(
    request: dict[str, Any], tensors: Sequence[torch.Tensor], scratch: Path
) -> tuple[str, int]:
    """What the tool prints, and its exit code, while a process of its own calls the kernel."""
    file = scratch / "request"
    torch.save({**request, "tensors": list(tensors)}, file)
    command = [*request["command"], sys.executable, "-P", "-m",
               "kernelite.harness.sanitized", str(file), request["artefact"]]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | ENVIRONMENT | {"TMPDIR": str(scratch)}, text=True, errors="replace",
        check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    return done.stdout[-100_000:], done.returncode
