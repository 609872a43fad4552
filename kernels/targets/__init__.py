"""GPUs that kernels are compiled for where there are none.

`driver` holds all that is private of Triton's, `compiling` is one candidate for
one target; both import Triton and belong into a process of their own.  What
runs is the candidate's own host code, so what they tell is the compilers' word
as that process passes it on: facts to describe a kernel by, no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from kernelite.errors import MachineError
from kernelite.kernels.devices import gpu
from kernelite.kernels.devices.specification import Gpu

#: Versions of Triton whose private names `driver` knows.
VERSIONS = ("3.6", "3.7", "3.8", "3.9")


@dataclass(frozen=True, slots=True)
class Target:
    """A GPU of the tables, as compilers and host code need to know it."""

    gpu: Gpu

    @property
    def arch(self) -> str:
        """``sm_90``, ``gfx942``."""
        return self.gpu.arch

    @property
    def amd(self) -> bool:
        """Whether it is one of AMD's."""
        return self.arch.startswith("gfx")

    @property
    def capability(self) -> tuple[int, int]:
        """Major and minor, as PyTorch has them: gfx942 is 9.4, gfx90a is 9.0."""
        digits = self.arch.removeprefix("gfx")[:2] if self.amd else self.arch.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])

    def limit(self, name: str) -> int:
        """A figure of `devices.specification.Limits`; the tables have all, for every GPU."""
        return int(getattr(self.gpu.limits, name).value)

    @property
    def multiprocessors(self) -> int | None:
        """None for an architecture of which no device is in the tables."""
        return None if self.gpu.multiprocessors is None else int(self.gpu.multiprocessors.value)

    def __str__(self) -> str:
        name = self.gpu.name
        return name if name == self.arch else f"{self.arch} ({name})"


def find(name: str) -> Target:
    """The GPU of that name; for an architecture, the first device of it in the tables.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    found = gpu.find(name)
    if found.multiprocessors is None:
        found = next((device for device in gpu.known() if device.arch == found.arch), found)
    return Target(found)


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


def check_driver(driver: int, assembler: str) -> None:
    """Whether the driver takes what the assembler makes: within a major version, it does.

    Source: "Minor Version Compatibility" in NVIDIA's CUDA Compatibility guide.

    Args:
        driver: As ``cuDriverGetVersion`` tells the newest CUDA that it knows: 12080 for 12.8.
        assembler: The CUDA that it comes from: ``12.8``.

    Raises:
        MachineError: it does not.
    """
    major, minor = driver // 1000, driver % 1000 // 10
    if major < int(assembler.partition(".")[0]):
        raise MachineError(
            f"the NVIDIA driver knows CUDA {major}.{minor} and Triton {version('triton')} makes"
            f" code of CUDA {assembler}; install a newer driver, or an older Triton"
        )
