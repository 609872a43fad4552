"""The record of a run: an append-only list of events in one SQLite file.

What `append` has returned for is on the disk: write-ahead log, a full sync per
transaction.  Everything else that Kernelite shows is computed from here.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

from kernelite.errors import KerneliteError, MachineError, UsageError
from kernelite.results import events
from kernelite.results.lock import FolderLock

LOG_NAME = "events.sqlite"
SCHEMA_VERSION = 1
SCHEMA = """
create table if not exists schema_version (version integer primary key, since real not null);
create table if not exists event (
    seq integer primary key,
    uid text not null unique,
    ts real not null,
    kind text not null,
    schema integer not null references schema_version (version),
    body text not null
);
create index if not exists event_kind on event (kind, seq);
"""
BUSY_S = 30


class EventLog:
    """One run's events; use it as a context manager.

    Open for writing it holds the folder's lock, so a second run on the same
    folder is refused; readers need no lock and may watch a run in progress.
    """

    def __init__(self, folder: Path, writable: bool = True) -> None:
        """Open the log of a run folder; a writer makes both if they are missing.

        Raises:
            UsageError: no log to read, another run is writing, or the file is no event log.
            MachineError: disk full, no permission, or a newer Kernelite wrote it.
        """
        self.folder, self.path = folder, folder / LOG_NAME
        self._lock = FolderLock(folder) if writable else None
        self._turn = RLock()  # answers of models are written down where they arrive
        try:
            with _translated(self.path):
                self._database = _create(self.path) if writable else _open(self.path)
                self._check_version()
        except BaseException:  # also Ctrl-C must not leave the folder locked
            self.close()
            raise

    def append(
        self, kind: str, body: events.Record | Mapping[str, Any], uid: str | None = None
    ) -> int:
        """Make an event durable and return its sequence number.

        ``uid`` makes it idempotent: a second event with the same one is not
        written, and the number of the first is returned.

        Raises:
            ValueError: an unknown kind, or a body that is not of that kind.
            MachineError: disk full, or the file has become read-only.
        """
        text, uid = events.encode(kind, body), uid or uuid.uuid4().hex
        with self._turn, _translated(self.path), _transaction(self._database) as database:
            database.execute(
                "insert into event (uid, ts, kind, schema, body) values (?, ?, ?, ?, ?)"
                " on conflict (uid) do nothing",
                (uid, time.time(), kind, SCHEMA_VERSION, text),
            )
            row = database.execute("select seq from event where uid = ?", (uid,)).fetchone()
        return int(row[0])

    def find(self, uid: str) -> events.Event | None:
        """The event with that uid; None if there is none, or this version does not know it."""
        query = "select seq, uid, ts, kind, schema, body from event where uid = ?"
        with self._turn, _translated(self.path):
            row = self._database.execute(query, (uid,)).fetchone()
        if row is None or (body := events.decode(row[3], row[5])) is None:
            return None
        return events.Event(row[0], uid, row[2], row[3], row[4], body)

    def events(self, kind: str | None = None) -> Iterator[events.Event]:
        """Events in order; those whose kind this version does not know are left out."""
        query = "select seq, uid, ts, kind, schema, body from event"
        query += " where kind = ? order by seq" if kind else " order by seq"
        with _translated(self.path):
            rows = self._database.execute(query, (kind,) if kind else ())
            for seq, uid, ts, name, schema, text in rows:
                if (body := events.decode(name, text)) is not None:
                    yield events.Event(seq, uid, ts, name, schema, body)

    def close(self) -> None:
        """Close the file and free the folder."""
        if hasattr(self, "_database"):
            self._database.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_version(self) -> None:
        found = self._database.execute("select max(version) from schema_version").fetchone()[0]
        if found is None or found > SCHEMA_VERSION:
            raise MachineError(
                f"{self.path} was written by a newer Kernelite (log schema {found}, this one"
                f" reads up to {SCHEMA_VERSION}); update kernelite"
            )


def read(folder: Path) -> list[events.Event]:
    """All events of a run folder.

    Raises:
        UsageError: no run there, or its file is no event log.
        MachineError: it cannot be read, or a newer Kernelite wrote it.
    """
    with EventLog(folder, writable=False) as log:
        return list(log.events())


def _create(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        database.execute(f"pragma {pragma}")
    with _transaction(database):
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        if database.execute("select count(*) from schema_version").fetchone()[0] == 0:
            now = (SCHEMA_VERSION, time.time())
            database.execute("insert into schema_version values (?, ?)", now)
    return database


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only; a file that lies on read-only ground cannot have a live writer."""
    if not path.is_file():
        raise UsageError(
            f"no run in {path.parent} (it has no {LOG_NAME}); give a run's folder,"
            " or make one: kernelite optimize TARGET"
        )
    uri = path.resolve().as_uri()
    try:
        database = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_S)
        database.execute("select 1 from schema_version").fetchone()
    except sqlite3.OperationalError as error:
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
        database = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("begin immediate")
    try:
        yield database
    except BaseException:  # also Ctrl-C: half a transaction must not be kept
        database.rollback()
        raise
    database.commit()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into one line that a person can act on."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot use {path}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise _meaning(path, str(error)) from error


def _meaning(path: Path, text: str) -> KerneliteError:
    if "not a database" in text or "malformed" in text or "no such table" in text:
        return UsageError(f"{path} is not an event log of Kernelite, or is damaged ({text})")
    if "disk is full" in text:
        return MachineError(f"disk full: cannot write {path}; free some space and use --resume")
    if "readonly" in text:
        return MachineError(f"cannot write {path}: it is read-only")
    if "locked" in text:
        return MachineError(f"{path} was locked by another program for {BUSY_S} s")
    return MachineError(f"cannot use {path}: {text}")
