"""GPUs that kernels are compiled for where there are none.

`driver` holds all that is private of Triton's, `compiling` is one candidate for
one target; both import Triton and belong into a process of their own.  What
runs is the candidate's own host code, so what they tell is the compilers' word
as that process passes it on: facts to describe a kernel by, no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from kernelite.errors import MachineError, UsageError

#: Versions of Triton whose private names `driver` knows.
VERSIONS = ("3.6", "3.7", "3.8", "3.9")

# Shared memory in KiB of a block at most and of a multiprocessor; then per multiprocessor
# registers, warps and blocks.  CUDA C++ Programming Guide, "Technical Specifications per Compute
# Capability"; AMD's "CDNA 2", "CDNA 3" and "CDNA 4 Instruction Set Architecture", and for waves
# and workgroups LLVM's AMDGPUBaseInfo.cpp: 4 SIMDs of 8 waves, 512 registers of 64 lanes each.
ARCHITECTURES = """
sm_80   163 164  65536 64 32
sm_86    99 100  65536 48 16
sm_89    99 100  65536 48 24
sm_90   227 228  65536 64 32
sm_100  227 228  65536 64 32
sm_120   99 100  65536 48 24
gfx90a   64  64 131072 32 16
gfx942   64  64 131072 32 16
gfx950  160 160 131072 32 16
"""
#: Device, architecture, multiprocessors; the first of an architecture stands for it.
DEVICES = """
a100 sm_80 108, a10 sm_86 72, l40s sm_89 142, rtx4090 sm_89 128, h100 sm_90 132, h200 sm_90 132,
b200 sm_100 148, rtx5090 sm_120 170, mi210 gfx90a 104, mi250x gfx90a 110, mi300x gfx942 304,
mi325x gfx942 304, mi355x gfx950 256"""


@dataclass(frozen=True, slots=True)
class Target:
    """One device, as the compilers and host code need to know it.

    Attributes:
        arch: ``sm_90``, ``gfx942``.
        multiprocessors: Or compute units.
        block_shared_bytes: Shared memory of a block at most; of a workgroup, AMD's LDS.
        shared_bytes: Of a multiprocessor, as are the three below.
        registers: Of 32 bits, for all threads.
        warps: Of 32 threads, or waves of 64.
    """

    device: str
    arch: str
    multiprocessors: int
    block_shared_bytes: int
    shared_bytes: int
    registers: int
    warps: int
    blocks: int

    @property
    def amd(self) -> bool:
        """Whether it is one of AMD's."""
        return self.arch.startswith("gfx")

    @property
    def warp_size(self) -> int:
        """Threads."""
        return 64 if self.amd else 32

    @property
    def capability(self) -> tuple[int, int]:
        """Major and minor, as PyTorch has them: gfx942 is 9.4, gfx90a is 9.0."""
        digits = self.arch.removeprefix("gfx") if self.amd else self.arch.removeprefix("sm_")
        number = digits[:2] if self.amd else digits
        return int(number[:-1]), int(number[-1])

    def __str__(self) -> str:
        return f"{self.arch} ({self.device})"


def targets() -> list[Target]:
    """All that are known."""
    limits = {row.split()[0]: [int(n) for n in row.split()[1:]] for row in _rows(ARCHITECTURES)}
    found = []
    for device, arch, count in (entry.split() for entry in DEVICES.split(",")):
        block, shared, *others = limits[arch]
        found.append(Target(device, arch, int(count), block << 10, shared << 10, *others))
    return found


def find(name: str) -> Target:
    """The target of that name: ``h200``, ``sm_90a``, ``cuda:90``, ``gfx942`` or ``hip:gfx942``.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    asked = name.strip().lower().removeprefix("hip:").replace("cuda:", "sm_")
    if asked.startswith("sm_"):
        asked = asked.removesuffix("a")
    known = targets()
    for target in known:
        if asked in (target.device, target.arch):
            return target
    raise UsageError(f"no target {name!r}; there are: {', '.join(map(str, known))}")


def check_version() -> str:
    """The installed Triton's version.

    Raises:
        MachineError: there is none, or one whose private names are not known.
    """
    try:
        found = version("triton")
    except PackageNotFoundError:
        raise MachineError(
            "Triton is not installed; type: pip install 'kernelite[triton]'"
        ) from None
    if ".".join(found.split(".")[:2]) not in VERSIONS:
        raise MachineError(
            f"Triton {found} is not one that targets are compiled with;"
            f" there are: {', '.join(VERSIONS)}"
        )
    return found


def _rows(table: str) -> list[str]:
    return table.strip().splitlines()
