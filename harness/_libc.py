"""Calls into the C library and the kernel that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39

MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 1 << 14, 1 << 18  # sys/mount.h

CAPABILITIES_V3 = 0x20080522  # linux/capability.h: two 32-bit words per set
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """The kernel's answer to one system call; bytes are passed by address.

    Raises:
        OSError: the kernel refused.
    """
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return _checked(int(LIBC.syscall(ctypes.c_long(number), *words)))


def prctl(option: int, value: int = 0) -> int:
    """What ``prctl(option, value)`` returns.

    Raises:
        OSError: the kernel refused.
    """
    zero = ctypes.c_ulong(0)
    return _checked(int(LIBC.prctl(option, ctypes.c_ulong(value), zero, zero, zero)))


def death_signal() -> int:
    """The signal that this process gets when its parent dies; 0 for none."""
    signal = ctypes.c_int(0)
    _checked(int(LIBC.prctl(PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0)))
    return signal.value


def drop_capabilities() -> None:
    """Give up every capability but those that only widen access to files.

    Root's checkout may belong to another user, so reading needs those two; what
    may be written is for file permissions and Landlock to say.

    Raises:
        OSError: the kernel refused.
    """
    header = struct.pack("Ii", CAPABILITIES_V3, 0)
    held = ctypes.create_string_buffer(24)
    _checked(int(LIBC.capget(header, held)))
    permitted = struct.unpack("6I", held.raw)[1] & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH)
    _checked(int(LIBC.capset(header, struct.pack("6I", permitted, permitted, 0, 0, 0, 0))))


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones.

    Raises:
        OSError: the kernel refused.
    """
    _checked(int(LIBC.unshare(flags)))


def mount_tmpfs(folder: Path, size_bytes: int) -> None:
    """Put an empty file system in memory at ``folder``, for this mount namespace alone.

    Raises:
        OSError: the kernel refused.
    """
    _checked(int(LIBC.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)))
    options = f"size={size_bytes},mode=700".encode()
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    _checked(int(LIBC.mount(b"kernelite", os.fsencode(folder), b"tmpfs", flags, options)))


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
