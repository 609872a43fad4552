"""From an answer to a kernel's source, or to what the model must be told.

What is not whole is no code: a draft in front of a cut answer is not taken for
the answer, and a source that its backend could not even read is not judged.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kernelite.agent.llm import edits
from kernelite.agent.llm.exchange import Ending
from kernelite.agent.llm.fences import Block, blocks, cleaned, span
from kernelite.kernels import launch
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed
from kernelite.results.exchanges import Answered

MOST_CHARACTERS = 100_000
TAGS = {
    ".py": ("python", "py", "python3", "triton", "pytorch"),
    ".cpp": ("cpp", "c++", "cc", "cxx", "c"),
    ".cu": ("cuda", "cu", "cpp", "c++"),
}


class Fault(StrEnum):
    """Why an answer holds no code that can be judged."""

    TRUNCATED = "truncated"
    REFUSED = "refused"
    EMPTY = "empty"
    CONTEXT_FULL = "context full"
    NO_CODE = "no code"
    MALFORMED = "not the JSON that was asked for"
    SYNTAX = "not readable"
    ENTRY = "no entry point"
    EDIT = "edit does not apply"
    UNCHANGED = "unchanged"
    OVERSIZED = "too long"


class Repair(StrEnum):
    """What can be done about a fault."""

    TELL = "tell the model"
    LENGTHEN = "ask again for a shorter answer, and allow a longer one"
    REPEAT = "ask the same again"
    ELSEWHERE = "ask another model"
    GIVE_UP = "give up"


REPAIRS: Mapping[Fault, Repair] = {
    Fault.TRUNCATED: Repair.LENGTHEN,
    Fault.REFUSED: Repair.ELSEWHERE,
    Fault.EMPTY: Repair.REPEAT,
    Fault.CONTEXT_FULL: Repair.GIVE_UP,
}  # and every other fault: Repair.TELL
ENDINGS = {Ending.TRUNCATED: Fault.TRUNCATED, Ending.REFUSED: Fault.REFUSED,
           Ending.EMPTY: Fault.EMPTY, Ending.CONTEXT_FULL: Fault.CONTEXT_FULL}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """A whole source, not judged yet; ``words`` is what was said around it."""

    source: str
    words: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """No source; ``lesson`` tells the model what was wrong with its answer."""

    fault: Fault
    lesson: str

    @property
    def repair(self) -> Repair:
        """What can be done about it."""
        return REPAIRS.get(self.fault, Repair.TELL)


def read(answer: Answered, name: str, parent: str | None = None) -> Code | Unusable:
    """What an answer offers for a backend.

    Args:
        answer: Of a model, with the way in which it ended.
        name: Of the backend.
        parent: The source that the answer may edit and must change; None if there is none.
    """
    if answer.ending in ENDINGS:
        fault = ENDINGS[Ending(answer.ending)]
        return Unusable(fault, f"The answer was {fault}.")
    text = cleaned(answer.text)
    found = _edited(text, parent) if parent is not None else None
    found = found or _fenced(text, name)
    if isinstance(found, Code):
        return _checked(found, parent)
    return found


def _checked(code: Code, parent: str | None) -> Code | Unusable:
    if len(code.source) > MOST_CHARACTERS:
        text = f"The source has {len(code.source)} characters; {MOST_CHARACTERS} are allowed."
        return Unusable(Fault.OVERSIZED, text)
    if parent is not None and _essence(code.source) == _essence(parent):
        return Unusable(Fault.UNCHANGED, "The source is the one that you were given; change it.")
    return code


def _essence(source: str) -> list[str]:
    return [line.rstrip() for line in source.splitlines() if line.strip()]


def _edited(text: str, parent: str) -> Code | Unusable | None:
    """The parent after the answer's edits; None if it holds none."""
    try:
        wanted = edits.edits(text)
        if not wanted:
            return None
        return Code(edits.apply(parent, wanted), text)
    except edits.CutOff:
        return Unusable(Fault.TRUNCATED, "The last edit has no end.")
    except edits.DoesNotApply as error:
        return Unusable(Fault.EDIT, str(error))


def _fenced(text: str, name: str) -> Code | Unusable:
    """The last block that is a whole source of the backend."""
    found = blocks(text)
    if not found:
        return Unusable(Fault.NO_CODE, "The answer holds no fenced block of code.")
    if not found[-1].closed:
        return Unusable(Fault.TRUNCATED, "The last block of code has no closing fence.")
    suffix = backend(name).suffix
    tagged = [block for block in found if block.tag in TAGS[suffix]] or found
    words = _words(text, found)
    for source in (*(block.text for block in reversed(tagged)), span(text, found)):
        if complaint(source, suffix) is None:
            return Code(source, words)
    said = complaint(tagged[-1].text, suffix)
    assert said is not None
    return said


def _words(text: str, found: list[Block]) -> str:
    """The answer without its blocks."""
    lines = text.split("\n")
    inside = {i for block in found for i in range(block.begin, block.end + 1)}
    return "\n".join(line for i, line in enumerate(lines) if i not in inside).strip()


def complaint(source: str, suffix: str) -> Unusable | None:
    """Why the source cannot be one for backends of that suffix; None if it may be."""
    if suffix == ".py":
        return _python_complaint(source)
    try:
        entry = launch.parse(source).entry
    except (BuildFailed, RecursionError) as error:
        return Unusable(Fault.ENTRY, f"{error}.")
    if not re.search(rf"\b{re.escape(entry)}\s*(?:<|\()", source.partition("\n")[2]):
        text = f"The launch specification names {entry!r}, which the source does not define."
        return Unusable(Fault.ENTRY, text)
    return None


def _python_complaint(source: str) -> Unusable | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else error
        return Unusable(Fault.SYNTAX, f"The source is not Python: {where}.")
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if names.isdisjoint({"run", "ModelNew"}):
        return Unusable(Fault.ENTRY, "The source defines no run(...) at its top level.")
    return None
