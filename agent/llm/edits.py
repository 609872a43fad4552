"""SEARCH/REPLACE edits: all of them apply, each in exactly one place, or none does.

<<<<<<< SEARCH
lines of the parent
=======
what stands there instead
>>>>>>> REPLACE
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

BEGIN = re.compile(r"\s*<{5,}\s*SEARCH\s*")
MIDDLE = re.compile(r"\s*={5,}\s*")
END = re.compile(r"\s*>{5,}\s*REPLACE\s*")
MOST_SHOWN = 12


class DoesNotApply(Exception):
    """An edit that fits nowhere, or in several places; the text teaches how to mend it."""


class CutOff(Exception):
    """The last edit is not whole."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines to find, and lines to put there."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def edits(text: str) -> list[Edit]:
    """The edits of an answer, in order; empty if it holds none.

    Raises:
        CutOff: one has no middle or no end.
    """
    found: list[Edit] = []
    lines = iter(text.split("\n"))
    for line in lines:
        if BEGIN.fullmatch(line):
            search = tuple(_until(lines, MIDDLE))
            found.append(Edit(search, tuple(_until(lines, END))))
    return found


def _until(lines: Iterator[str], mark: re.Pattern[str]) -> Iterator[str]:
    for line in lines:
        if mark.fullmatch(line):
            return
        yield line
    raise CutOff


def apply(source: str, wanted: Sequence[Edit]) -> str:
    """The source after all edits, each applied to what the one before left.

    Raises:
        DoesNotApply: one of them has no place, or more than one.
    """
    lines = source.split("\n")
    for number, edit in enumerate(wanted, 1):
        lines = _applied(lines, edit, number)
    return "\n".join(lines)


def _applied(lines: Sequence[str], edit: Edit, number: int) -> list[str]:
    if not any(line.strip() for line in edit.search):
        raise DoesNotApply(f"edit {number}: its SEARCH part is empty; copy the lines to replace")
    size = len(edit.search)
    for alike in (_exactly, _blanks_aside):
        places = [at for at in range(len(lines) - size + 1)
                  if alike(lines[at : at + size], edit.search)]  # fmt: skip
        if len(places) > 1:
            shown = ", ".join(str(at + 1) for at in places)
            raise DoesNotApply(
                f"edit {number}: its SEARCH part stands in {len(places)} places, at lines {shown};"
                " add neighbouring lines until it is unique"
            )
        if places:
            at = places[0]
            new = _indented(edit, lines[at : at + size])
            return [*lines[:at], *new, *lines[at + size :]]
    raise DoesNotApply(_nearest(lines, edit, number))


def _exactly(some: Sequence[str], others: Sequence[str]) -> bool:
    return [line.rstrip() for line in some] == [line.rstrip() for line in others]


def _blanks_aside(some: Sequence[str], others: Sequence[str]) -> bool:
    return [line.split() for line in some] == [line.split() for line in others]


def _indented(edit: Edit, there: Sequence[str]) -> list[str]:
    """The new lines, moved as far as the old ones were off."""
    pairs = zip(edit.search, there, strict=True)
    had, has = next((_indent(s), _indent(t)) for s, t in pairs if s.strip())
    if had == has:
        return list(edit.replace)
    return [has + line.removeprefix(had) if line.strip() else line for line in edit.replace]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _nearest(lines: Sequence[str], edit: Edit, number: int) -> str:
    """What to say of an edit without a place: the lines that are most like it."""
    size, wanted = len(edit.search), [line.strip() for line in edit.search]
    first = next(i for i, line in enumerate(wanted) if line)

    def likeness(at: int) -> tuple[int, float]:
        there = [line.strip() for line in lines[at : at + size]]
        same = sum(a == b != "" for a, b in zip(there, wanted, strict=False))
        near = there[first] if first < len(there) else ""
        return same, SequenceMatcher(None, near, wanted[first], autojunk=False).ratio()

    at = max(range(max(1, len(lines) - size + 1)), key=likeness)
    shown = "\n".join(lines[at : at + min(size, MOST_SHOWN)])
    return (
        f"edit {number}: the source has no such lines as its SEARCH part;"
        f" the most similar begin at line {at + 1}:\n{shown}\nCopy them to the last character."
    )
