"""What is asked of a model and what comes back, the same for every provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from kernelite.agent.llm.keys import Key

CHARACTERS_PER_TOKEN = 3.5  # of English and code, for servers that count nothing


class Ending(StrEnum):
    """Why an answer ends where it does."""

    DONE = "done"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    EMPTY = "empty"
    CONTEXT_FULL = "context full"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in the order of its stability, so that a provider can cache its beginning.

    Attributes:
        system: The same for a whole run: contract, backend, hardware.
        task: The same for a problem.
        turn: Of this one request.
    """

    system: str
    task: str
    turn: str

    @property
    def text(self) -> str:
        """All of it, as a person reads it."""
        return "\n\n".join((self.system, self.task, self.turn))


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    Attributes:
        purpose: Name of the prompt that it was made from.
        version: Hash of that prompt's templates.
        max_output: Tokens, thinking included.
        repeat: 0, or how often the same was asked before: equal requests get one answer.
    """

    purpose: str
    version: str
    prompt: Prompt
    max_output: int
    repeat: int = 0

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of what a model would see, and of ``repeat``."""
        seen = json.dumps([asdict(self.prompt), self.max_output, self.repeat], sort_keys=True)
        return sha256(seen.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def cache_key(self) -> str:
        """Equal for requests that begin alike."""
        beginning = self.prompt.system + self.prompt.task
        return sha256(beginning.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call used.

    Attributes:
        input: All of the prompt, whether cached or not.
        cached: The part of ``input`` that was read from a cache.
        cache_written: The part of ``input`` that was written to one.
        output: All that was generated, thinking included.
        thinking: The part of ``output`` that is not in the answer.
        estimated: Whether the counts come from the texts' lengths and not from the provider.
    """

    input: int = 0
    cached: int = 0
    cache_written: int = 0
    output: int = 0
    thinking: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; whether it is of use is another question."""

    text: str
    ending: Ending
    tokens: Tokens
    request_id: str = ""


class Trouble(Exception):
    """A try that brought no answer; the text is one line without any key.

    Attributes:
        again: Whether another try may help.
        wait_s: What the server wants to be waited; None if it does not say.
        billed: Whether the provider may charge for it all the same.
        full: Whether the prompt is longer than the model reads.
    """

    def __init__(
        self, text: str, again: bool = False, wait_s: float | None = None, billed: bool = False,
        full: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(" ".join(text.split())[:400])
        self.again, self.wait_s, self.billed, self.full = again, wait_s, billed, full


class Client(Protocol):
    """One model of one provider; ``key`` is what no text may show, None if it has none."""

    key: Key | None

    async def complete(self, request: Request) -> Reply:
        """Ask once, without any retry; may be cancelled at any moment.

        Raises:
            Trouble: no answer came.
            UsageError: the key or the name of the model is wrong.
        """

    async def close(self) -> None:
        """Close the connections."""


def estimated(request: Request, answer: str) -> Tokens:
    """Counts from the lengths of the texts."""
    lengths = (len(request.prompt.text), len(answer))
    asked, answered = (round(length / CHARACTERS_PER_TOKEN) for length in lengths)
    return Tokens(input=asked, output=answered, estimated=True)


def plain(request: Request, text: str) -> Reply:
    """The reply of a provider that returns nothing but a text."""
    ending = Ending.DONE if text.strip() else Ending.EMPTY
    return Reply(text, ending, estimated(request, text))


@contextmanager
def expecting(what: str) -> Iterator[None]:
    """Turn what a stranger's malformed answer raises into `Trouble`: bad JSON, lacking fields."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        text = f"{what}: {type(error).__name__}: {error}"
        raise Trouble(text, again=True, billed=True) from None
