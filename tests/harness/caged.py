"""Tries, in locked-up children of a process that has imported torch, what a candidate may not do.

Run as ``python -P caged.py FOLDER LIBRARY RUNS``, where RUNS is a JSON list of ``[user id, layers,
attempts, gpu]``; no attempts means all but those for a GPU, "forbidden" those that must fail.
Prints a JSON list with an object for each run: for each attempt what came of it, "done" or the
error.  A process that has run a parallel operation must not fork, so this one only ever imports
and forks.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from kernelite.harness.cage import close

FOLDER, LIBRARY = Path(sys.argv[1]), Path(sys.argv[2])
SECRET = FOLDER / "secret"
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def raw_fork() -> None:
    """By clone with the flags of fork."""
    pid = LIBC.syscall(220 if os.uname().machine == "aarch64" else 56, signal.SIGCHLD, 0, 0, 0, 0)
    checked(pid)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def execute_in_place() -> None:
    os.execv("/bin/true", ["/bin/true"])


def ptrace_parent() -> None:
    checked(LIBC.ptrace(0x4206, os.getppid(), 0, 0))  # PTRACE_SEIZE
    checked(LIBC.ptrace(0x4207, os.getppid(), 0, 0))


def read_parents_memory() -> None:
    with open(f"/proc/{os.getppid()}/maps") as file:
        file.readline()


def signal_by_descriptor() -> None:
    """Ask the kernel to send a signal of choice to the parent when a pipe is written."""
    fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())


def move_parent() -> None:
    os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid()))


def raise_own_limit() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, 1 << 20))


def outlive_parent() -> None:
    checked(LIBC.prctl(1, 0, 0, 0, 0))  # PR_SET_PDEATHSIG


def fill_the_disk() -> None:
    """By files that each are small enough."""
    for number in range(2):
        os.posix_fallocate(os.open(f"part {number}", os.O_RDWR | os.O_CREAT), 0, 700 << 20)


FORBIDDEN: dict[str, Callable[[], object]] = {
    "write outside": lambda: (FOLDER / "made").write_text("x"),
    "append outside": lambda: SECRET.open("a").close(),
    "truncate outside": lambda: os.truncate(SECRET, 3),
    "chmod outside": lambda: SECRET.chmod(0o666),
    "touch outside": lambda: os.utime(SECRET),
    "delete outside": lambda: (FOLDER / "victim").unlink(),
    "rename outside": lambda: os.rename(FOLDER / "renamed", FOLDER / "scratch" / "mine"),
    "hard link": lambda: os.link(SECRET, FOLDER / "scratch" / "link"),
    "read outside": SECRET.read_text,
    "read through a link": lambda: (FOLDER / "scratch" / "way out").read_text(),
    "list home": lambda: os.listdir(FOLDER),
    "read parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read parent's memory map": read_parents_memory,
    "tcp socket": lambda: socket.socket(socket.AF_INET).close(),
    "udp socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "subprocess": lambda: subprocess.run(["/bin/true"], check=True),
    "exec": execute_in_place,
    "fork": fork,
    "fork by clone": raw_fork,
    "kill parent": lambda: os.kill(os.getppid(), 0),
    "signal by descriptor": signal_by_descriptor,
    "ptrace parent": ptrace_parent,
    "move parent to other CPUs": move_parent,
    "slow parent down": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 0),
    "raise own limit": raise_own_limit,
    "outlive parent": outlive_parent,
    "shared memory": lambda: checked(LIBC.shmget(0, 4096, 0o1600)),
    "20 GB": lambda: torch.empty(20 << 30, dtype=torch.uint8),
    "fill the disk": fill_the_disk,
    "huge file": lambda: os.truncate(os.open("big", os.O_RDWR | os.O_CREAT), 3 << 30),
}


def threads() -> None:
    seen: list[int] = []
    started = [threading.Thread(target=seen.append, args=(i,)) for i in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert sorted(seen) == list(range(8))


def parallel_matmul() -> None:
    torch.set_num_threads(2)
    a = torch.arange(256.0 * 256).reshape(256, 256) / 65536
    assert torch.allclose(a @ a, (a.double() @ a.double()).float())
    assert (torch.ones(1 << 20) + 1).sum() == 2 << 20
    assert len(os.listdir("/proc/self/task")) > 1, "nothing ran in parallel"


def load_library() -> None:
    library = ctypes.CDLL(str(LIBRARY))
    assert library.threads_seen(2) == 2


def stdlib() -> None:
    import colorsys
    import wave

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert wave.open


def scratch_files() -> None:
    folder = FOLDER / "scratch" / "deep"
    folder.mkdir()
    (folder / "a").write_text("text")
    (folder / "a").rename(folder.parent / "b")
    assert (folder.parent / "b").read_text() == Path("b").read_text() == "text"


PERMITTED: dict[str, Callable[[], object]] = {
    "threads": threads,
    "parallel matmul": parallel_matmul,
    "load a library that runs OpenMP": load_library,
    "files in scratch": scratch_files,
    "write /dev/null": lambda: Path("/dev/null").write_text("x"),
    "random bytes": lambda: os.urandom(8),
    "signal to itself": lambda: os.kill(os.getpid(), 0),
    "256 MB": lambda: torch.empty(256 << 20, dtype=torch.uint8),
    "import of the standard library": stdlib,
}


def reserve_addresses() -> None:
    """As a driver does: far more than the limit, without a byte that can be written."""
    LIBC.mmap.restype = ctypes.c_void_p
    private_anonymous_noreserve = 0x4022
    length = ctypes.c_size_t(64 << 30)
    address = LIBC.mmap(None, length, 0, private_anonymous_noreserve, -1, ctypes.c_long(0))
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())


def name_own_thread() -> None:
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("cuda")


def ask_for_a_daemon() -> None:
    """As cuInit asks for MPS; it goes on if nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            asked.connect("/run/any/daemon")
        except FileNotFoundError:
            return
    raise AssertionError("connected")


def request_of_a_driver() -> None:
    """The filter lets a driver's through, which a pipe does not know, and no terminal's."""
    for request, expected in ((0x46D6, errno.ENOTTY), (termios.TIOCSTI, errno.EPERM)):
        code = LIBC.ioctl(os.pipe()[0], ctypes.c_ulong(request), b"x")
        assert (code, ctypes.get_errno()) == (-1, expected), request


def many_descriptors() -> None:
    for _ in range(600):
        os.open(os.devnull, os.O_RDONLY)


FOR_GPU: dict[str, Callable[[], object]] = {
    "reserve addresses": reserve_addresses,
    "name its own thread": name_own_thread,
    "ask for a daemon": ask_for_a_daemon,
    "request of a driver": request_of_a_driver,
    "many descriptors": many_descriptors,
    "memfd": lambda: os.close(os.memfd_create("cuda")),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except BaseException as error:  # noqa: BLE001  each attempt ends in a line of the report
        return f"{type(error).__name__}: {error}"
    return "done"


def in_child(user: int, layers: list[str], attempt: Callable[[], object], gpu: bool) -> str:
    """What comes of an attempt in a new locked-up child; "done" if the child became another."""
    prepare(user)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        if user != os.getuid():
            os.setgid(user)
            os.setuid(user)
            LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as a user's own processes are
        cage = close(
            FOLDER / "scratch", [LIBRARY], memory_bytes=2 << 30, cpu_s=20, layers=layers, gpu=gpu
        )  # fmt: skip
        result = f"only {cage.layers}"
        if set(cage.layers) == set(layers):
            result = outcome(attempt)
        os.write(into, result.encode())
        os._exit(0)
    os.close(into)
    with open(out) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return text or ("done" if status == 0 else f"exit {status}")


def prepare(user: int) -> None:
    """The same files for each attempt."""
    shutil.rmtree(FOLDER / "scratch", ignore_errors=True)
    (FOLDER / "scratch").mkdir()
    for name in ("secret", "victim", "renamed"):
        (FOLDER / name).write_text("secret")
        os.chown(FOLDER / name, user, -1)
    (FOLDER / "scratch" / "way out").symlink_to(SECRET)
    for folder in (FOLDER, FOLDER / "scratch"):
        os.chown(folder, user, -1)


if __name__ == "__main__":
    attempts = FORBIDDEN | PERMITTED | FOR_GPU
    reports = []
    for user, layers, names, gpu in json.loads(sys.argv[3]):
        if names in ([], ["forbidden"]):
            names = list(FORBIDDEN if names else attempts if gpu else FORBIDDEN | PERMITTED)
        found = {name: in_child(user, layers, attempts[name], gpu) for name in names}
        reports.append(
            {
                "forbidden": {name: text for name, text in found.items() if name in FORBIDDEN},
                "permitted": {name: text for name, text in found.items() if name not in FORBIDDEN},
            }
        )
    json.dump(reports, sys.stdout)
