"""The door between records and the log: which kind is which, text in, text out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kernelite.results import evidence, exchanges, records, whole_model

Record = (
    records.RunStarted
    | records.Profiled
    | records.Ranked
    | records.Captured
    | records.Candidate
    | records.Evaluated
    | evidence.Compiled
    | records.Tuned
    | records.Winner
    | records.KeptLibrary
    | records.NoWinner
    | evidence.Shortlisted
    | records.Patched
    | whole_model.Verified
    | records.Fallback
    | records.RunFinished
    | exchanges.Asked
    | exchanges.Answered
)

KINDS: Mapping[str, type[Any]] = {
    "run_started": records.RunStarted,
    "profiled": records.Profiled,
    "ranked": records.Ranked,
    "captured": records.Captured,
    "candidate": records.Candidate,
    "evaluated": records.Evaluated,
    "compiled": evidence.Compiled,
    "tuned": records.Tuned,
    "winner": records.Winner,
    "kept_library": records.KeptLibrary,
    "no_winner": records.NoWinner,
    "shortlisted": evidence.Shortlisted,
    "patched": records.Patched,
    "verified": whole_model.Verified,
    "fallback": records.Fallback,
    "run_finished": records.RunFinished,
    "asked": exchanges.Asked,
    "answered": exchanges.Answered,
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body of a known kind that does not fit its record; the reason is one line."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a run's history.

    Attributes:
        ts: Seconds since the epoch, UTC.
        schema: Version of the log's schema under which it was written.
    """

    seq: int
    uid: str
    ts: float
    kind: str
    schema: int
    body: Record | Unreadable


def encode(kind: str, body: Record | Mapping[str, Any]) -> str:
    """The body as JSON text; what is no finite number becomes null.

    Raises:
        ValueError: ``kind`` is unknown, or the body lacks what its record needs.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of event {kind!r}; there are: {', '.join(KINDS)}")
    plain = _plain(body)
    _adapter(kind).validate_python(plain)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def decode(kind: str, text: str) -> Record | Unreadable | None:
    """The record that a log's line holds; None if this version does not know the kind."""
    if kind not in KINDS:
        return None
    try:
        record: Record = _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Unreadable(kind, f"{where}: {first['msg']}" if where else str(first["msg"]))
    return record


def as_verdict(fields_: Mapping[str, Any]) -> records.Verdict:
    """A verdict that the judge gave as a plain dict.

    Raises:
        ValueError: it lacks what a verdict needs.
    """
    return _verdict_adapter().validate_python(_plain(fields_))


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


@cache
def _verdict_adapter() -> TypeAdapter[records.Verdict]:
    return TypeAdapter(records.Verdict)


def _plain(value: Any) -> Any:
    """``value`` in what JSON and UTF-8 can hold: kernels' texts are any bytes at all."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, bool | int | None) else str(value)
