"""Fenced blocks of an answer, found line by line as Markdown defines them.

A fence of n backquotes or tildes is closed by at least as many of the same with
nothing behind them; so a block may hold shorter fences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`]*)")
THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
UNSEEN = str.maketrans({"\ufeff": "", "\u200b": "", "\u2060": "", "\u00a0": " "})


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        tag: First word of the opening fence, in lower case; may be empty.
        begin: Index of the opening fence's line; ``end`` of the closing one's.
        closed: Whether there is a closing fence.
    """

    tag: str
    text: str
    begin: int
    end: int
    closed: bool


def cleaned(answer: str) -> str:
    """The answer without thoughts, carriage returns and characters that cannot be seen."""
    text = answer.replace("\r\n", "\n").replace("\r", "\n").translate(UNSEEN)
    return THOUGHT.sub("", text)


def blocks(text: str) -> list[Block]:
    """All blocks in order; only the last may be open."""
    found: list[Block] = []
    lines, at = text.split("\n"), 0
    while at < len(lines):
        opening = FENCE.fullmatch(lines[at])
        if opening is None:
            at += 1
            continue
        indent, fence, info = opening.groups()
        ends = (i for i in range(at + 1, len(lines)) if _closes(lines[i], fence))
        end = next(ends, len(lines))
        tag = (info.split() or [""])[0].lower()
        found.append(Block(tag, joined(lines[at + 1 : end], indent), at, end, end < len(lines)))
        at = end + 1
    return found


def span(text: str, found: Sequence[Block]) -> str:
    """From the first opening fence to the last closing one: code that holds fences itself."""
    return joined(text.split("\n")[found[0].begin + 1 : found[-1].end], "")


def joined(lines: Sequence[str], indent: str) -> str:
    """Lines of code as a text, without the indentation that the fence has."""
    return "".join(f"{line.removeprefix(indent)}\n" for line in lines)


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and set(bare) == {fence[0]}
