"""What went wrong between a candidate's host code and its binaries, and in which line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from kernelite.kernels.targets.driver import CompilationError, OutOfResources
from kernelite.kernels.targets.records import Kind, Trouble

LONGEST = 2000


def trouble(error: BaseException, path: Path, said: str) -> Trouble:
    """An exception of the host code or of a compiler.

    Args:
        error: As it was raised.
        path: Of the candidate.
        said: What the compilers wrote to stderr.
    """
    if isinstance(error, OutOfResources):
        text = f"it needs {error.required} of {error.name}, of which there are {error.limit}"
        return Trouble(Kind.RESOURCES, text, _raised(error, path))
    if isinstance(error, CompilationError):
        *_, inner = _causes(error)
        found = [one for one in _causes(error) if isinstance(one, CompilationError)][-1]
        text = found.error_message or f"{type(inner).__name__}: {inner}"
        return Trouble(Kind.COMPILE, _short(text), _compiled(found, path.read_text()))
    diagnosed = re.search(rf"{re.escape(str(path))}:(\d+):\d+: error: (.*)", said)
    if diagnosed:
        return Trouble(Kind.COMPILE, _short(diagnosed[2]), int(diagnosed[1]))
    text = _short(f"{type(error).__name__}: {error}")
    if type(error).__module__.startswith("triton"):
        return Trouble(Kind.COMPILE, text, _raised(error, path))
    kind = Kind.VALUES if "meta" in text.lower() else Kind.HOST
    return Trouble(kind, text, _raised(error, path))


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__  # type: ignore[assignment]


def _raised(error: BaseException, path: Path) -> int | None:
    """The last line of the candidate's that led to the error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def _compiled(error: CompilationError, source: str) -> int | None:
    """The line where Triton's compiler stopped; it counts from the function's ``def``."""
    number = getattr(error.node, "lineno", None)
    if number is None or error.src is None:
        return None
    lines = [line.strip() for line in source.splitlines()]
    function = [line.strip() for line in error.src.strip().splitlines()]
    starts = range(len(lines) - len(function) + 1)
    start = next((n for n in starts if lines[n : n + len(function)] == function), None)
    return None if start is None else start + int(number)


def _short(text: str) -> str:
    return text.strip()[:LONGEST]
