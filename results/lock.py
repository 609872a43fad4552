"""One run per folder: a lock that the kernel takes back from a process that dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from kernelite.errors import MachineError, UsageError

LOCK_NAME = "lock"


class FolderLock:
    """Held from construction to `release`, or to the end of the process.

    Raises:
        UsageError: another process, or another lock in this one, holds it.
        MachineError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileExistsError as error:
            raise UsageError(f"{folder} is a file, not a run's folder; name another one") from error
        except OSError as error:
            raise MachineError(f"cannot write to {folder}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 20).decode("ascii", "replace").strip()
            os.close(file)
            raise UsageError(
                f"another run (process {holder or 'unknown'}) is working in {folder}; wait for it,"
                " or give a folder of its own: --out FOLDER"
            ) from error
        self._file = file
        _held.add(self)
        with suppress(OSError):  # the number only serves the message; the lock does the work
            os.truncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others in; harmless if it was released before."""
        if self._file is not None:
            # A child that was just forked may not have closed its copy yet.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Close this process's copy; the lock stays with those that have another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_held: WeakSet[FolderLock] = WeakSet()


def _drop_in_child() -> None:
    """A forked child shares the lock and would keep it alive after a kill -9 of its parent."""
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_drop_in_child)
