"""What went wrong between a candidate's host code and its binaries, and in which line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from kernelite.kernels.targets.driver import CompilationError, OutOfResources
from kernelite.kernels.targets.records import Kind, Trouble

LONGEST = 2000
MOST_READ = 1 << 20
#: What PyTorch says when it is asked what is in a tensor that has no contents.
EMPTY = re.compile(r"\bmeta (?:tensor|device)|register_meta", re.IGNORECASE)


def trouble(error: BaseException, path: Path, said: Path, compiling: bool) -> Trouble:
    """An exception of the host code or of a compiler.

    Args:
        error: As it was raised.
        path: Of the candidate.
        said: Holds what the compilers wrote to stderr.
        compiling: Whether a compiler raised it.
    """
    if isinstance(error, OutOfResources):
        text = f"needs {error.required} of {error.name}; the target has {error.limit}"
        return Trouble(Kind.RESOURCES, text, _raised(error, path))
    if isinstance(error, CompilationError):
        *_, inner = _causes(error)
        last = [one for one in _causes(error) if isinstance(one, CompilationError)][-1]
        text = last.error_message or f"{type(inner).__name__}: {inner}"
        return Trouble(Kind.COMPILE, _short(text), _compiled(last, path.read_text()))
    text = _short(f"{type(error).__name__}: {error}").rstrip(": ")
    if isinstance(error, SyntaxError):
        return Trouble(Kind.COMPILE, text, _raised(error, path))
    if compiling:
        with said.open(errors="replace") as file:
            written = file.read(MOST_READ)
        found = re.search(rf"{re.escape(str(path))}:(\d+):\d+: error: (.*)", written)
        if found:
            return Trouble(Kind.COMPILE, _short(found[2]), int(found[1]))
        return Trouble(Kind.COMPILE, text, _raised(error, path))
    if EMPTY.search(text):
        text = f"the host code reads what is in a tensor: {text}"
        return Trouble(Kind.VALUES, text, _raised(error, path))
    return Trouble(Kind.HOST, text, _raised(error, path))


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
