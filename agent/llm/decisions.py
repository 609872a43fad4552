"""Answers that decide something instead of writing code: one JSON value, checked field by field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from kernelite.agent.llm.answers import ENDINGS, Fault, Unusable
from kernelite.agent.llm.exchange import Ending
from kernelite.agent.llm.fences import blocks, cleaned
from kernelite.results.exchanges import Answered

T = TypeVar("T")
LONGEST_LABEL = 40


@dataclass(frozen=True, slots=True)
class Effect:
    """What an idea is expected to change: ``bytes``, ``flops`` or ``launches``; None if unsaid."""

    what: str = ""
    before: float | None = None
    after: float | None = None

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return "nothing that can be counted"
        return f"{self.what} {self.before:g} to {self.after:g}"


@dataclass(frozen=True, slots=True)
class Idea:
    """A way to compute a problem, above any code; one item of plan.md's list."""

    name: str
    change: str = ""
    bound: str = ""
    effect: Effect = field(default_factory=Effect)
    risk: str = ""

    @property
    def label(self) -> str:
        """The name as one short line that a terminal can show."""
        shown = "".join(c if c.isprintable() else " " for c in self.name)
        return " ".join(shown.split())[:LONGEST_LABEL] or "unnamed"

    def __str__(self) -> str:
        return (f"{self.name}: {self.change}\nexpected bound: {self.bound}\n"
                f"expected effect: {self.effect}\nrisk: {self.risk}")  # fmt: skip


def read(answer: Answered, kind: type[T]) -> T | Unusable:
    """The value of that type, wherever in the answer it stands."""
    if answer.ending in ENDINGS:
        fault = ENDINGS[Ending(answer.ending)]
        return Unusable(fault, f"The answer was {fault}.")
    text = cleaned(answer.text)
    lesson = "The answer holds no JSON."
    for part in (*(block.text for block in reversed(blocks(text))), text):
        starts = (at for at in (part.find("["), part.find("{")) if at >= 0)
        try:
            value, _ = json.JSONDecoder().raw_decode(part[min(starts) :])
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            lesson = f"The JSON does not fit: {where}: {first['msg']}."
        except (ValueError, RecursionError):  # no JSON, none at all, or one without a bottom
            continue
    return Unusable(Fault.MALFORMED, lesson)
