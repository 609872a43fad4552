"""Which files a caged process may touch: a Landlock ruleset.

Nothing may be executed unless that is asked for, nothing outside the scratch
folder be written, no TCP port be used, no signal leave, as far as the kernel's
version of Landlock goes.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import EACCES, EROFS
from pathlib import Path

import kernelite
from kernelite.harness._libc import PR_SET_NO_NEW_PRIVS, prctl, syscall

# The same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446

# linux/landlock.h
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_SOCK, MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST = (1 << 13) - 1
TCP, SCOPES, SIGNALS = 3, 3, 2

READ = READ_FILE | READ_DIR
WRITE = (FIRST | REFER | TRUNCATE) & ~(EXECUTE | MAKE_CHAR | MAKE_SOCK | MAKE_BLOCK)
ON_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

DEVICES = (Path("/dev/null"),)
# Of /proc only what is the process's own: another's environment may hold keys.
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems"),
    *("/proc/sys/vm", "/sys/devices/system", "/sys/kernel/mm", "/sys/fs/cgroup"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
)

GPU_FACTS = (
    *("/proc/driver/nvidia", "/proc/driver/nvidia-uvm", "/proc/devices", "/proc/modules"),
    *("/sys/bus/pci", "/sys/class", "/sys/devices", "/sys/module"),
)


def _interpreter() -> set[Path]:
    """Where modules that are already imported may import more from: never a user's folder."""
    installed = (p for p in sys.path if p.endswith(("site-packages", "dist-packages")))
    roots = [Path(root) for root in kernelite.__path__]
    ours = (folder for root in roots for folder in root.iterdir())  # links, in a checkout
    python = (sys.prefix, sys.base_prefix, *installed)
    return {path.resolve() for path in (*map(Path, python), *roots, *ours)}


ALWAYS_READABLE = (*(Path(name) for name in SYSTEM), *_interpreter())


def version() -> int:
    """The Landlock version of the running kernel; 0 for none."""
    with suppress(OSError):
        return syscall(CREATE_RULESET, None, 0, 1)
    return 0


def restrict(
    scratch: Path, readable: Iterable[Path], may_execute: bool = False, gpu: bool = False,
    talks: bool = False,
) -> bool:  # fmt: skip
    """Put the rules on this process for good; True if it really is refused afterwards.

    Args:
        scratch: May be written to.
        readable: May be read, besides what always may.
        may_execute: Allow to run what is installed, as a compiler must; never the scratch folder.
        gpu: Allow NVIDIA's devices, and what CUDA reads of the machine.
        talks: Allow TCP and sockets without a file, as far as the network reaches.

    Raises:
        OSError: the kernel has no Landlock, or a path of the caller's is missing.
    """
    found = version()
    rights = FIRST | (found >= 2) * REFER | (found >= 3) * TRUNCATE | (found >= 5) * IOCTL_DEV
    fields = (rights, TCP * (found >= 4 and not talks),
              (SIGNALS if talks else SCOPES) * (found >= 6))  # fmt: skip
    size = 8 if found < 4 else 16 if found < 6 else 24
    ruleset = syscall(CREATE_RULESET, struct.pack("QQQ", *fields), size, 0)
    try:
        for path in ALWAYS_READABLE:
            with suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, (READ | may_execute * EXECUTE) & rights)
        for path in readable:
            _allow(ruleset, path, READ & rights)
        _allow(ruleset, scratch, WRITE & rights)
        for path in DEVICES:
            _allow(ruleset, path, (WRITE_FILE | READ_FILE | TRUNCATE) & rights)
        for path, wanted in _for_gpu() if gpu else ():
            with suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, wanted & rights)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return _refuses(scratch)


def _for_gpu() -> Iterator[tuple[Path, int]]:
    """What CUDA needs besides: its devices, facts, and names for its own threads.

    Without the last, cuInit fails with error 304 since driver 570 (NVIDIA/OpenShell #1486).
    """
    for path in Path("/dev").glob("nvidia*"):
        yield path, READ | WRITE_FILE | IOCTL_DEV
    for name in GPU_FACTS:
        yield Path(name), READ
    yield Path("/proc/self/task"), READ | WRITE_FILE | TRUNCATE


def _allow(ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= ON_A_FILE
        syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def _refuses(scratch: Path) -> bool:
    """Whether the root cannot be listed and nothing be written beside the scratch folder."""
    beside = scratch.parent / f".outside-{os.getpid()}"
    for path, flags in (("/", os.O_RDONLY), (str(beside), os.O_WRONLY | os.O_CREAT | os.O_EXCL)):
        try:
            os.close(os.open(path, flags, 0o600))
        except OSError as error:
            if error.errno not in (EACCES, EROFS):
                return False
        else:
            beside.unlink(missing_ok=True)
            return False
    return True
