"""The fork server: a process that has imported torch and only ever forks.

A forked child costs 10 ms where a new torch process costs 1.2 s.  The server
itself runs no tensor operation: a child of a process whose OpenMP pool has
run would hang in its first parallel region.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from kernelite.harness import runner


def main(folder: Path, fd: int, preload: str) -> None:
    """Answer requests on the control socket until the judge closes it.

    Args:
        folder: Where each child gets a folder of its own; deleted at the end.
        fd: Of the control socket.
        preload: Modules that the children find imported, separated by commas.
    """
    for name in filter(None, preload.split(",")):
        __import__(name)
    control = socket.socket(fileno=fd)
    control.send(b'{"ready": true}')
    running: dict[int, Path] = {}
    while True:
        message, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            break
        request = json.loads(message)
        if (ended := request.get("wait")) is not None:
            status = _wait(ended)
            _remove(running.pop(ended, None))
            control.send(json.dumps({"status": status}).encode())
            continue
        scratch = Path(tempfile.mkdtemp(dir=folder))
        pid = os.fork()
        if pid == 0:
            control.close()
            runner.main(socket.socket(fileno=fds[0]), scratch, caged=request["caged"])
        os.close(fds[0])
        running[pid] = scratch
        control.send(json.dumps({"pid": pid}).encode())
    for pid in running:
        _wait(pid)
    _remove(folder)


def _remove(scratch: Path | None) -> None:
    """Delete a runner's folder, whatever is in it; folders within folders can be too deep."""
    if scratch is not None:
        with suppress(RecursionError):
            shutil.rmtree(scratch, ignore_errors=True)


def _wait(pid: int) -> int:
    """Kill the child with all of its session, and return its exit status."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
