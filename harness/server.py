"""The fork server: a process that has imported torch and only ever forks.

A forked child costs 10 ms where a new torch process costs 1.2 s, and nothing
when it was forked before it was asked for.  The server itself runs no tensor
operation: a child of a process whose OpenMP pool has run would hang in its
first parallel region.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from kernelite import plugins
from kernelite.harness import runner, watchdog
from kernelite.kernels import backends

BURIAL_S = 0.05


def main(folder: Path, fd: int, preload: str, memory_bytes: int) -> None:
    """Answer requests on the control socket until the judge closes it.

    Args:
        folder: Where each child gets a folder of its own; deleted at the end.
        fd: Of the control socket.
        preload: Modules that the children find imported, separated by commas.
        memory_bytes: What a child may hold; one that takes more is ended.
    """
    _import(preload)
    for name in plugins.names(backends.__name__):
        backends.backend(name)
    control = socket.socket(fileno=fd)
    control.send(b'{"ready": true}')
    spare, sock = _fork(folder, control)
    running, dying, greedy = {spare}, set[int](), set[int]()
    while message := _next(control, dying, folder, running - {spare}, greedy, memory_bytes):
        request = json.loads(message)
        if request["do"] == "fork":
            if request["modules"] not in ("", *sys.modules):
                _import(request["modules"])
                _kill(spare)
                running.discard(spare)
                dying.add(spare)
                sock.close()
                spare, sock = _fork(folder, control)
                running.add(spare)
            socket.send_fds(control, [json.dumps({"pid": spare}).encode()], [sock.fileno()])
            sock.close()
            spare, sock = _fork(folder, control)
            running.add(spare)
        else:
            _kill(pid := request["pid"])
            running.discard(pid)
            dying.add(pid)
        if request["do"] == "wait":
            answer = {"status": _reap(pid, folder), "greedy": pid in greedy}
            control.send(json.dumps(answer).encode())
    for pid in running:
        _kill(pid)
    for pid in running | dying:
        _reap(pid, folder)
    _remove(folder)


def _import(modules: str) -> None:
    for name in filter(None, modules.split(",")):
        __import__(name)


def _next(
    control: socket.socket, dying: set[int], folder: Path, running: set[int], greedy: set[int],
    memory_bytes: int,
) -> bytes:  # fmt: skip
    """The next request, empty at the end; ends the greedy and buries the dead while it waits."""
    while True:
        dying -= {pid for pid in dying if _reap(pid, folder, os.WNOHANG) is not None}
        for pid in running - greedy:
            if watchdog.held_bytes(pid) > memory_bytes:
                _kill(pid)
                greedy.add(pid)
        wait_s = BURIAL_S if dying else watchdog.EVERY_S if running else None
        control.settimeout(wait_s)
        with suppress(TimeoutError):
            return control.recv(4096)


def _fork(folder: Path, control: socket.socket) -> tuple[int, socket.socket]:
    """A runner that waits for its judge, and the judge's end of the socket to it."""
    judges, own = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        control.close()
        judges.close()
        scratch = folder / str(os.getpid())
        scratch.mkdir(mode=0o700)
        runner.main(own, scratch)
    own.close()
    return pid, judges


def _kill(pid: int) -> None:
    """Kill the child with all of its session."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _reap(pid: int, folder: Path, flags: int = 0) -> int | None:
    """Exit code of the killed child, whose folder is removed; None if it is not dead yet."""
    try:
        found, status = os.waitpid(pid, flags)
    except ChildProcessError:
        return 0
    if not found:
        return None
    _remove(folder / str(pid))
    return os.waitstatus_to_exitcode(status)


def _remove(folder: Path) -> None:
    """Delete a folder, whatever is in it; folders within folders can be too deep."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
