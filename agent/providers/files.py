"""A person or a coding agent as the model: ``--llm files:FOLDER``.

``FOLDER/PURPOSE-ID.prompt.md`` is the question; ``FOLDER/PURPOSE-ID.answer.md`` is read
as soon as it is there and no longer grows.  ID is the prompt's hash, so a run that
goes on asks the same question under the same name and finds what was answered meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path

from kernelite.agent.llm.exchange import Reply, Request, Trouble, plain
from kernelite.agent.llm.keys import Key
from kernelite.errors import MachineError, UsageError

LOOK_S = 0.1
QUIET_LOOKS = 3  # an answer is whole if it has not changed for so many


class Files:
    """Any number of questions lie there at once, to be answered in any order."""

    parallel = 64
    priced = False
    patience_s = math.inf

    def client(self, model: str, environment: Mapping[str, str]) -> FilesClient:
        """See `agent.providers.Provider`."""
        if not model:
            raise UsageError("files: names no folder; type files:FOLDER")
        return FilesClient(Path(model))


class FilesClient:
    """See `agent.llm.exchange.Client`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key: Key | None = None

    async def complete(self, request: Request) -> Reply:
        """Write the question, and wait for the answer as long as the caller does."""
        name = f"{request.purpose}-{request.id}"
        try:
            self._write(self.folder / f"{name}.prompt.md", request.prompt.text)
            return plain(request, await _read(self.folder / f"{name}.answer.md"))
        except OSError as error:
            where = error.filename or self.folder
            raise MachineError(f"cannot use {where}: {error.strerror or error}") from error
        except UnicodeDecodeError:
            raise Trouble(f"{name}.answer.md is not text") from None

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, path: Path, text: str) -> None:
        """Whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".part")
        half.write_text(text, encoding="utf-8", errors="replace")
        half.replace(path)


async def _read(path: Path) -> str:
    """The file's text, once it is there and has stopped growing."""
    before, quiet = None, 0
    while quiet < QUIET_LOOKS:
        await asyncio.sleep(LOOK_S)
        found = path.stat() if path.exists() else None
        state = found and (found.st_size, found.st_mtime_ns)
        quiet = quiet + 1 if state and state == before else 0
        before = state
    return path.read_text(encoding="utf-8")


PROVIDER = Files()
