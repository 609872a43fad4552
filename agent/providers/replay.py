"""Recorded answers: ``--llm replay:RUN``, a run's folder or a file of `dump`'s lines.

A request is found by its hash, so prompts must be equal to the last character.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path

from kernelite.agent.llm.exchange import Ending, Reply, Request, Tokens
from kernelite.agent.llm.keys import Key
from kernelite.errors import UsageError
from kernelite.results import events, log
from kernelite.results.exchanges import Answered, Asked

SHOWN = 60


class Replay:
    """Costs nothing, reaches nobody."""

    parallel = 64
    priced = False
    patience_s = 60.0

    def client(self, model: str, environment: Mapping[str, str]) -> ReplayClient:
        """See `agent.providers.Provider`."""
        path = Path(model)
        return ReplayClient(model, _from_lines(path) if path.is_file() else _from_log(path))


class ReplayClient:
    """See `agent.llm.exchange.Client`."""

    def __init__(self, origin: str, recorded: Iterable[Asked | Answered]) -> None:
        self.origin = origin
        self.key: Key | None = None
        self.asked: dict[str, Asked] = {}
        self.answered: dict[str, Answered] = {}
        for record in recorded:
            if isinstance(record, Asked):
                self.asked[record.id] = record
            elif not record.error:
                self.answered[record.id] = record

    async def complete(self, request: Request) -> Reply:
        """The recorded answer.

        Raises:
            UsageError: there is none; the message names the nearest that there is.
        """
        if (found := self.answered.get(request.id)) is None:
            raise UsageError(self._miss(request))
        tokens = Tokens(
            found.input, found.cached, found.cache_written, found.output, found.thinking,
            found.estimated,
        )  # fmt: skip
        return Reply(found.text, Ending(found.ending), tokens, found.request_id)

    async def close(self) -> None:
        """Nothing is open."""

    def _miss(self, request: Request) -> str:
        text = f"no recorded answer to {request.purpose}-{request.id} in {self.origin}"
        wanted = request.prompt.text.splitlines()

        def likeness(record: Asked) -> tuple[bool, float]:
            matcher = SequenceMatcher(None, wanted, _lines(record), autojunk=False)
            return record.purpose == request.purpose, matcher.ratio()

        known = [self.asked[key] for key in self.answered if key in self.asked]
        if not known:
            return f"{text}; there is none at all"
        nearest = max(known, key=likeness)
        here, there = _first_difference(wanted, _lines(nearest))
        return (f"{text}; the nearest is {nearest.purpose}-{nearest.id}, which has"
                f" {there[:SHOWN]!r} where this one has {here[:SHOWN]!r}")  # fmt: skip


def dump(records: Iterable[Asked | Answered], path: Path) -> None:
    """Write records as lines of JSON; compressed if the name ends in ``.gz``."""
    kinds = {Asked: "asked", Answered: "answered"}
    lines = [json.dumps({"kind": kinds[type(r)], "body": events.encode(kinds[type(r)], r)})
             for r in records]  # fmt: skip
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _from_lines(path: Path) -> Iterator[Asked | Answered]:
    data = path.read_bytes()
    try:
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
        found = [events.decode(line["kind"], line["body"]) for line in map(json.loads, lines)]
    except (ValueError, TypeError, LookupError, OSError, EOFError) as error:
        raise UsageError(f"{path} holds no recorded answers: {error}") from None
    yield from (record for record in found if isinstance(record, Asked | Answered))


def _from_log(folder: Path) -> Iterator[Asked | Answered]:
    bodies = (event.body for event in log.read(folder))
    yield from (body for body in bodies if isinstance(body, Asked | Answered))


def _lines(record: Asked) -> list[str]:
    return "\n\n".join((record.system, record.task, record.turn)).splitlines()


def _first_difference(some: list[str], others: list[str]) -> tuple[str, str]:
    length = max(len(some), len(others))
    pairs = zip(some + [""] * (length - len(some)), others + [""] * (length - len(others)),
                strict=True)  # fmt: skip
    return next((pair for pair in pairs if pair[0] != pair[1]), ("other limits", "its limits"))


PROVIDER = Replay()
