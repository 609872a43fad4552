"""Locks the current process up before candidate code is loaded into it.

For a forked child with one thread; needs no privilege, and cannot be undone.
Every level includes those before it, and counts only if it was seen to work:

    0  nothing
    1  "process": own process and session, dies with its parent, limits on
       memory, CPU time, file size and descriptors, no new privileges
    2  "seccomp": no network, no new program, no new process (threads only), no
       signal to and no look into another process
    3  "landlock": reads the system, the interpreter and what it is given;
       writes to its scratch folder and /dev/null only
    4  "namespaces": a network with no way out, shared memory of its own, and a
       scratch folder in memory that nobody else sees and that cannot fill a disk

Open descriptors stay usable and memory stays readable: the caller closes and
forgets what the candidate must not have.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from kernelite.errors import MachineError
from kernelite.harness import _landlock, _libc, _seccomp

LAYERS = ("process", "seccomp", "landlock", "namespaces")
DESCRIPTORS, GPU_DESCRIPTORS = 256, 1024
MAPPED, WRITABLE = 0, 5  # columns of /proc/self/statm, see proc(5)
SCRATCH_BYTES = 1 << 30
PAGE_BYTES = resource.getpagesize()

# linux/sched.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h

PROBE = """
import sys
from pathlib import Path
from kernelite.harness.cage import close
cage = close(Path(sys.argv[1]), [], memory_bytes=1 << 30, cpu_s=10)
sys.stdout.write(" ".join(cage.layers))
"""


@dataclass(frozen=True, slots=True)
class Cage:
    """What really holds a process.

    Attributes:
        level: 0 to 4; the module's docstring says what each means.
        layers: Those that work, also above a missing one; in the order of `LAYERS`.
    """

    level: int
    layers: tuple[str, ...]


def close(
    scratch: Path,
    readable: Sequence[Path],
    memory_bytes: int,
    cpu_s: float,
    layers: Sequence[str] = LAYERS,
    may_execute: bool = False,
    gpu: bool = False,
    talks: bool = False,
    own_processes: bool = False,
) -> Cage:
    """Lock the current process up and say what holds.  A layer that the machine lacks is left out.

    Args:
        scratch: The only folder it may write to; becomes its working directory.
        readable: Files and folders that it may read besides system and interpreter.
        memory_bytes: Address space that it may map on top of what is mapped now.
        cpu_s: CPU time of all its threads from its start.
        layers: Which of `LAYERS` to try.
        may_execute: Allow to run installed programs; of use without the layer "seccomp" only.
        gpu: Allow what CUDA needs, and count memory that is written instead of addresses: a
            driver reserves more of those than any machine has memory.  CUDA starts behind this,
            not before: threads that it had started already would stand outside the walls.
        own_processes: With the layer "namespaces", have what is started from now on in one of its
            own; see `enter_own_processes`.
        talks: Allow connections within the network that it sees, as a tool's library needs them.

    Raises:
        MachineError: the process has several threads, or ``scratch`` or a readable path is missing.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        # torch.set_num_threads starts some: it belongs behind this.
        raise MachineError("a process with several threads cannot be locked up")
    if missing := [str(path) for path in (scratch, *readable) if not path.exists()]:
        raise MachineError(f"no such path to let a caged process use: {', '.join(missing)}")
    # Last comes what forbids the system calls of the others.
    steps: Mapping[str, Callable[[], bool]] = {
        "namespaces": lambda: _enter_namespaces(scratch, own_processes),
        "process": lambda: _restrict_process(memory_bytes, cpu_s, gpu),
        "landlock": lambda: _landlock.restrict(
            scratch.resolve(), readable, may_execute, gpu, talks
        ),
        "seccomp": lambda: _seccomp.restrict(gpu),
    }
    active = {name for name, step in steps.items() if name in layers and _works(step)}
    os.chdir(scratch)  # it may be another folder than before
    return Cage(level_of(active), tuple(name for name in LAYERS if name in active))


def level_of(active: Collection[str]) -> int:
    """The level that these layers make: how many there are below the first gap."""
    gaps = (level for level, name in enumerate(LAYERS) if name not in active)
    return min(gaps, default=len(LAYERS))


def raise_loopback() -> None:
    """Let the processes of a new network namespace talk to each other.

    Raises:
        OSError: the kernel refused.
    """
    request = struct.pack("16sH22x", b"lo", IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def enter_own_processes() -> None:
    """Go on as a child that is the first of its namespace; whatever it starts ends with it.

    For a process that `close` gave one.  The caller becomes the parent that
    waits, and ends as its child does.
    """
    if (child := os.fork()) == 0:
        _libc.prctl(_libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


def available() -> list[str]:
    """The layers that this machine offers: those that hold a new process which tries them all.

    Raises:
        MachineError: such a process could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="kernelite-") as scratch:
        command = [sys.executable, "-P", "-c", PROBE, scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise MachineError(f"cannot try the cage: {done.stderr.strip()[-300:]}")
    return done.stdout.split()


def require(level: int) -> None:
    """Go on only if a candidate can be held at this level; 0 asks for nothing.

    Raises:
        MachineError: this machine does not offer it.
    """
    if level and (found := level_of(available())) < level:
        raise MachineError(
            f"isolation level {level} was asked for; this machine offers {found}:"
            " kernelite doctor says what is missing"
        )


def scrubbed_environment(home: Path) -> dict[str, str]:
    """The whole environment for a server of caged processes: no keys, and caches under ``home``.

    It is for the start of the server: ``/proc/self/environ`` keeps showing what a
    process was started with, whatever it deletes later.
    """
    folder = str(home)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "USER": "kernelite",
        "HOME": folder,
        "TMPDIR": folder,
        "XDG_CACHE_HOME": f"{folder}/.cache",
        "TRITON_CACHE_DIR": f"{folder}/.cache/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/.cache/inductor",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def kill_tree(pid: int) -> None:
    """Kill a child with all its descendants, and who shares a session or group with them.

    Each is stopped before its children are looked for, so none can slip away
    meanwhile.  The caller reaps the child itself.
    """
    doomed: set[int] = set()
    while found := _related(doomed | {pid}) - doomed:
        for one in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGSTOP)
        doomed |= found
    for one in doomed:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def _related(known: set[int]) -> set[int]:
    """``known`` and every process whose parent, group or session is among them; not this one."""
    found = set(known)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            # The name before ")" may hold anything; then: state, parent, group, session.
            fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
            if known & {int(field) for field in fields[1:4]}:
                found.add(int(entry.name))
    return found - {os.getpid()}


def _works(step: Callable[[], bool]) -> bool:
    """A kernel, a container or a policy may forbid any of the steps; then it is not there."""
    try:
        return step()
    except OSError:
        return False


def _restrict_process(memory_bytes: int, cpu_s: float, gpu: bool) -> bool:
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    _libc.drop_capabilities()
    _libc.prctl(_libc.PR_SET_NO_NEW_PRIVS, 1)
    _libc.prctl(_libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    pages = Path("/proc/self/statm").read_text().split()
    mapped = int(pages[WRITABLE if gpu else MAPPED]) * PAGE_BYTES
    seconds = max(1, ceil(cpu_s))
    descriptors = GPU_DESCRIPTORS if gpu else DESCRIPTORS
    limits = {
        resource.RLIMIT_DATA if gpu else resource.RLIMIT_AS: (mapped + memory_bytes,) * 2,
        # The first tells the judge why; the second cannot be ignored.
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (memory_bytes, memory_bytes),
        resource.RLIMIT_NOFILE: (descriptors, descriptors),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        if hard >= 0:
            limit = (min(limit[0], hard), min(limit[1], hard))
        resource.setrlimit(kind, limit)
        limits[kind] = limit
    limited = all(resource.getrlimit(kind) == limit for kind, limit in limits.items())
    alone = os.getsid(0) == os.getpgrp() == os.getpid()
    tied = _libc.death_signal() == signal.SIGKILL
    return limited and alone and tied and _libc.prctl(_libc.PR_GET_NO_NEW_PRIVS) == 1


def _enter_namespaces(scratch: Path, own_processes: bool) -> bool:
    """Root needs no user namespace, and would lose the sight of other users' files in one."""
    kinds = ("net", "ipc", "mnt")
    wanted = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS | own_processes * CLONE_NEWPID
    before = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    user, group = os.getuid(), os.getgid()
    try:
        _libc.unshare(wanted)
    except PermissionError:
        _libc.unshare(CLONE_NEWUSER | wanted)
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            Path("/proc/self", name).write_text(text)
    _libc.mount_tmpfs(scratch, SCRATCH_BYTES)
    return all(
        os.readlink(f"/proc/self/ns/{kind}") != old for kind, old in zip(kinds, before, strict=True)
    )
