"""Instructions as text: how many there are of a kind, and whether two programs are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256


def mix(instructions: Iterable[str], kinds: Mapping[str, str]) -> dict[str, int]:
    """How many instructions are of each kind, without the kinds that there are none of.

    Args:
        instructions: Operation first.
        kinds: A regular expression for each, that its instructions begin with.
    """
    found = dict.fromkeys(kinds, 0)
    patterns = {kind: re.compile(pattern) for kind, pattern in kinds.items()}
    for instruction in instructions:
        for kind, pattern in patterns.items():
            found[kind] += pattern.match(instruction) is not None
    return {kind: count for kind, count in found.items() if count}


def code(lines: Sequence[str], label: str) -> str:
    """First 16 hex digits of the SHA-256 of the program, whatever its labels are called.

    Args:
        lines: Instructions, and labels where they stand.
        label: A regular expression for a label's name.
    """
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"label {len(numbers)}")

    text = re.sub(label, number, "\n".join(lines))
    return sha256(text.encode()).hexdigest()[:16]
