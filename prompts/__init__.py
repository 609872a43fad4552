"""What a model is told: Markdown templates and one function that fills them.

A template begins with a comment that says how long it may become, in tokens.
The order in a request is from stable to volatile, so that providers can cache
its beginning: system, guide of the backend, hardware | task | one of the others.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from hashlib import sha256
from pathlib import Path

CHARACTERS_PER_TOKEN = 3.5
FIELD = re.compile(r"\{\{(\w+)\}\}")
HEAD = re.compile(r"<!-- at most (\d+) tokens -->\n")
#: Fences what comes from kernels, compilers and models; see system.md.
DATA = "=====DATA"


def render(name: str, **fields: str) -> str:
    """The template with every field filled in, and no longer than it may be.

    What is too long loses the middle of its longest fields, and says so there.  A
    field cannot end the data that it stands in.

    Raises:
        ValueError: a field of the template is missing, or one that was given is unused.
    """
    wanted = names(name)
    if wanted != fields.keys():
        missing, unused = wanted - fields.keys(), fields.keys() - wanted
        raise ValueError(f"{name}.md lacks {sorted(missing)}, and has no use for {sorted(unused)}")
    text, limit = _template(name)
    safe = {key: value.strip("\n").replace(DATA, "DATA") for key, value in fields.items()}

    def length(most: int) -> int:
        return len(_filled(text, _clipped(safe, most)))

    longest = max(map(len, safe.values()), default=0)
    most = bisect_right(range(longest + 1), limit, key=length) - 1
    return _filled(text, _clipped(safe, max(most, 0)))


def clipped(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, or just a mark; cut in the middle."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - MARK_LENGTH)
    head = kept - kept // 3
    tail = text[len(text) - kept // 3 :]
    return f"{text[:head]}{_mark(len(text) - kept)}{tail}"


def names(name: str) -> set[str]:
    """The fields of a template."""
    return set(FIELD.findall(_template(name)[0]))


def exists(name: str) -> bool:
    """Whether there is such a template."""
    return (Path(__file__).parent / f"{name}.md").is_file()


def version(*templates: str) -> str:
    """First 12 hex digits of the SHA-256 of these templates."""
    return sha256("\0".join(_template(name)[0] for name in templates).encode()).hexdigest()[:12]


@cache
def _template(name: str) -> tuple[str, int]:
    """The text behind the head, and its limit in characters."""
    text = (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
    if (head := HEAD.match(text)) is None:
        raise ValueError(f"{name}.md does not begin with <!-- at most N tokens -->")
    return text[head.end() :].strip(), round(int(head[1]) * CHARACTERS_PER_TOKEN)


def _filled(text: str, fields: dict[str, str]) -> str:
    return FIELD.sub(lambda found: fields[found[1]], text)


def _clipped(fields: dict[str, str], most: int) -> dict[str, str]:
    return {key: clipped(value, most) for key, value in fields.items()}


def _mark(count: int) -> str:
    return f"\n[... {count} characters left out ...]\n"


MARK_LENGTH = len(_mark(10**9))
