"""Which system calls a caged process may make: an allow-list, as a seccomp filter.

What is not listed answers ENOSYS, so that C libraries fall back to what is;
what a kernel has no business with answers EPERM, so that the refusal is told.
The tables have a name and its numbers on x86-64 and on aarch64 (``-``: none).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from errno import EINVAL, ENOENT, ENOSYS, EPERM

from kernelite.harness._libc import LIBC, PR_SET_NO_NEW_PRIVS, prctl, syscall

FILES = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69,
pwritev 296 70, preadv2 327 286, pwritev2 328 287, open 2 -, openat 257 56, creat 85 -, close 3 57,
close_range 436 436, fstat 5 80, stat 4 -, lstat 6 -, newfstatat 262 79, statx 332 291,
statfs 137 43, fstatfs 138 44, lseek 8 62, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -,
pipe2 293 59, flock 73 32, fsync 74 82, fdatasync 75 83, ftruncate 77 46, fallocate 285 47,
fadvise64 221 223, getdents 78 -, getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50,
rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34, rmdir 84 -,
unlink 87 -, unlinkat 263 35, symlink 88 -, symlinkat 266 36, readlink 89 -, readlinkat 267 78,
access 21 -, faccessat 269 48, faccessat2 439 439, umask 95 166, sendfile 40 71,
copy_file_range 326 285, poll 7 -, ppoll 271 73, select 23 -,
pselect6 270 72, epoll_create 213 -, epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -,
epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19, recvfrom 45 207,
shutdown 48 210"""
MEMORY_AND_THREADS = """
mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, brk 12 214,
msync 26 227, membarrier 324 283, futex 202 98, futex_waitv 449 449, set_robust_list 273 99,
rseq 334 293, set_tid_address 218 96, gettid 186 178, getpid 39 172, getppid 110 173,
getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148,
getresgid 120 150, getgroups 115 158, getpgid 121 155, getpgrp 111 -, getsid 124 156,
capget 125 90, arch_prctl 158 -, exit 60 93, exit_group 231 94, wait4 61 260, waitid 247 95,
restart_syscall 219 128, sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121,
sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126,
getpriority 140 141, getrlimit 97 163, getrusage 98 165, getcpu 309 168, times 100 153,
time 201 -, uname 63 160, sysinfo 99 179, getrandom 318 278, rt_sigaction 13 134,
rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigtimedwait 128 137, rt_sigsuspend 130 133,
rt_sigpending 127 136, sigaltstack 131 132, pause 34 -, alarm 37 -, getitimer 36 102,
setitimer 38 103, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115,
nanosleep 35 101, gettimeofday 96 169"""
REFUSED = """
socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201, accept 43 202,
accept4 288 242, sendmsg 46 211, sendmmsg 307 269, execve 59 221, execveat 322 281, fork 57 -,
vfork 58 -, ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, tkill 200 130,
rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_open 434 434, pidfd_getfd 438 438,
pidfd_send_signal 424 424, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452,
chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54, utimensat 280 88, truncate 76 45,
link 86 -, linkat 265 37, mknod 133 -, mknodat 259 33, setrlimit 160 164, setpriority 141 140,
ioprio_set 251 30, sched_setscheduler 144 119, sched_setparam 142 118, sched_setattr 314 274,
setsid 112 157, setpgid 109 154, unshare 272 97, setns 308 268, mount 165 40, umount2 166 39,
chroot 161 51, pivot_root 155 41, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282,
io_uring_setup 425 425, keyctl 250 219, add_key 248 217"""
BY_ARGUMENT = """
clone 56 220, prctl 157 167, fcntl 72 25, ioctl 16 29, prlimit64 302 261, sendto 44 206,
kill 62 129, tgkill 234 131, sched_setaffinity 203 122"""
OWN = "seccomp 317 277, clone3 435 435"
# For CUDA: cuInit fails without a memfd (NVIDIA/OpenShell #1696), and asks for a daemon of MPS at
# a socket, which it gets to know is not there (strace in NVIDIA/cuda-checkpoint #10).
GPU = """
memfd_create 319 279, mlock 149 228, mlock2 325 284, munlock 150 229, mincore 27 232,
mbind 237 235, get_mempolicy 239 236, set_mempolicy 238 237, getsockopt 55 209, setsockopt 54 208"""
GPU_BY_ARGUMENT = "socket 41 198, connect 42 203, ioctl 16 29"

# Values that an argument may have: readable prctls and naming (names of threads and mappings);
# ioctls that C libraries use on any descriptor (terminal questions, FIO*).
PRCTLS = (2, 3, 15, 16, 21, 39, 0x53564D41)
IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)
# Terminals and sockets, by the second byte; a driver has requests of its own, without a list.
IOCTL_KINDS = (0x5400, 0x8900)
AF_UNIX = 1
# F_SETOWN, F_SETSIG, F_SETOWN_EX: they make the kernel send any signal to any process.
SIGNALLING_FCNTLS = (8, 10, 15)
CLONE_THREAD = 0x00010000
CLONE_NEW = 0x7E020080  # every CLONE_NEW* flag of linux/sched.h

LOAD, EQUAL, SOME_BITS, ANSWER = 0x20, 0x15, 0x45, 0x06  # linux/bpf_common.h
AND = 0x54
ALLOW, KILL = 0x7FFF0000, 0x80000000  # linux/seccomp.h
DENY, ABSENT, NOT_THERE = 0x00050000 | EPERM, 0x00050000 | ENOSYS, 0x00050000 | ENOENT
SET_FILTER, ALLOW_SPECULATION = 1, 4
COLUMN = {"x86_64": 0, "aarch64": 1}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def numbers(table: str, column: int) -> dict[str, int]:
    """Name and number of each call in ``table`` that the architecture has."""
    rows = (entry.split() for entry in table.split(","))
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


def _code(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)


def _argument(index: int, high: bool = False) -> bytes:
    """Load half of a call's argument; both architectures are little-endian."""
    return _code(LOAD, 16 + 8 * index + 4 * high)


def _one_of(index: int, values: Sequence[int], then: int, otherwise: int) -> bytes:
    cases = (_code(EQUAL, value, 0, 1) + _code(ANSWER, then) for value in values)
    return _argument(index) + b"".join(cases) + _code(ANSWER, otherwise)


def _null(index: int) -> bytes:
    low = _argument(index) + _code(EQUAL, 0, 1, 0) + _code(ANSWER, DENY)
    high = _argument(index, high=True) + _code(EQUAL, 0, 1, 0) + _code(ANSWER, DENY)
    return low + high + _code(ANSWER, ALLOW)


def _rules(calls: Mapping[str, bytes], table: str, column: int) -> bytes:
    """For each call: if this is its number, the code that answers; every such code ends."""
    number = numbers(table, column)
    return b"".join(
        _code(EQUAL, number[name], 0, len(code) // 8) + code for name, code in calls.items()
    )


def _for_gpu(column: int) -> bytes:
    """What answers before the rest, in a process that uses CUDA."""
    kinds = b"".join(_code(EQUAL, kind, 0, 1) + _code(ANSWER, DENY) for kind in IOCTL_KINDS)
    listed = b"".join(_code(EQUAL, one, 0, 1) + _code(ANSWER, ALLOW) for one in IOCTLS)
    checked = {
        "socket": _one_of(0, (AF_UNIX,), ALLOW, DENY),
        "connect": _code(ANSWER, NOT_THERE),
        "ioctl": _argument(1) + listed + _code(AND, 0xFF00) + kinds + _code(ANSWER, ALLOW),
    }
    plain = dict.fromkeys(numbers(GPU, column), _code(ANSWER, ALLOW))
    return _rules(plain, GPU, column) + _rules(checked, GPU_BY_ARGUMENT, column)


def _fixed(machine: str, gpu: bool = False) -> bytes:
    """The filter's part that is the same for every process."""
    column = COLUMN[machine]
    thread = _argument(0) + _code(SOME_BITS, CLONE_NEW, 0, 1) + _code(ANSWER, DENY)
    thread += _code(SOME_BITS, CLONE_THREAD, 1, 0) + _code(ANSWER, DENY) + _code(ANSWER, ALLOW)
    checked = {
        "clone": thread,
        "prctl": _one_of(0, PRCTLS, ALLOW, DENY),
        "fcntl": _one_of(1, SIGNALLING_FCNTLS, DENY, ALLOW),
        "ioctl": _one_of(1, IOCTLS, ALLOW, DENY),
        "prlimit64": _null(2),  # reading only: root could raise its own limits again
        "sendto": _null(4),  # on a connected channel that the process was given
    }
    code = _code(LOAD, 4) + _code(EQUAL, AUDIT_ARCH[machine], 1, 0) + _code(ANSWER, KILL)
    code += _code(LOAD, 0) + (_for_gpu(column) if gpu else b"")
    for table, answer in ((FILES, ALLOW), (MEMORY_AND_THREADS, ALLOW), (REFUSED, DENY)):
        code += _rules(dict.fromkeys(numbers(table, column), _code(ANSWER, answer)), table, column)
    return code + _rules(checked, BY_ARGUMENT, column)


FIXED = {machine: _fixed(machine) for machine in COLUMN if machine == platform.machine()}


def restrict(gpu: bool = False) -> bool:
    """Put the filter on this process for good; True if it really refuses afterwards.

    ``gpu`` lets CUDA start.

    Raises:
        OSError: the kernel has no seccomp, or forbids it here.
    """
    machine = platform.machine()
    if machine not in FIXED:
        raise OSError(ENOSYS, f"no table of system calls for {machine}")
    own = os.getpid()
    itself = {name: _one_of(0, (own,), ALLOW, DENY) for name in ("kill", "tgkill")}
    # Another process's CPUs are not its business: a baseline could be slowed by moving it.
    itself["sched_setaffinity"] = _one_of(0, (0, own), ALLOW, DENY)
    fixed = _fixed(machine, gpu) if gpu else FIXED[machine]
    code = fixed + _rules(itself, BY_ARGUMENT, COLUMN[machine]) + _code(ANSWER, ABSENT)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    number = numbers(OWN, COLUMN[machine])["seccomp"]
    try:
        # Kernels before 5.16 turn speculation off in filtered processes: a slower CPU to time on.
        syscall(number, SET_FILTER, ALLOW_SPECULATION, program)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        syscall(number, SET_FILTER, 0, program)
    return _refuses(COLUMN[machine])


def _refuses(column: int) -> bool:
    """Make calls that could do no harm even if they were allowed."""
    number = numbers(REFUSED + "," + BY_ARGUMENT + "," + OWN, column)
    tried = {"execve": EPERM, "socket": EPERM, "ptrace": EPERM, "clone3": ENOSYS}
    for name, expected in tried.items():
        ctypes.set_errno(0)
        arguments = [ctypes.c_long(-1 if name in ("socket", "ptrace") else 0)] * 3
        answer = LIBC.syscall(ctypes.c_long(number[name]), *arguments)
        if answer != -1 or ctypes.get_errno() != expected:
            return False
    return True
