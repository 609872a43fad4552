"""Triton on the GPU that a kernel is for: compiled in one process, run in another.

What Triton compiles follows from how a kernel is called, so `build` calls it once, where programs
may be run, on tensors that only look like the real ones; all that Triton keeps of it goes into an
archive.  `load` unpacks that where no program may be run, and whatever a call needs besides is
`NotCompiled`.  Which configuration an autotuner chose is kept as well, so that all processes of a
kernel run the same one.

Importing this imports Triton, which must not be told to interpret, and reads all of it once.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache as once
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
import triton.compiler
from triton import knobs
from triton.runtime import cache
from triton.runtime.jit import JITFunction, KernelInterface

from kernelite.errors import MachineError
from kernelite.kernels.backends import _launches
from kernelite.kernels.backends import _python as python
from kernelite.kernels.kernel import (
    Allocate,
    BuildFailed,
    Entry,
    Kernel,
    NotCompiled,
    TooLarge,
    Use,
)
from kernelite.kernels.targets import check_driver, troubles
from kernelite.kernels.targets.records import Kind, Trouble
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

DEVICE = "cuda"
#: In Triton's keys for the version of an assembler, which it would ask by running that; archives
#: are told apart by Triton's own version, and it brings its assembler along.
ASSEMBLER = "that of this Triton"
TUNED = ".autotune.json"
GROUP = "__grp__"

if knobs.runtime.interpret:
    raise MachineError("a server whose runners interpret Triton has none that use a GPU")
cache.triton_key()
JITFunction.run = _launches.counted(JITFunction.run)


class Kept(cache.CacheManager):  # type: ignore[misc]
    """What Triton finds of the archive, under one of its keys; nothing is added to it."""

    def __init__(self, key: str, override: bool = False, dump: bool = False) -> None:
        self.folder = Path(knobs.cache.dir, key)

    def get_file(self, filename: str) -> str | None:
        """Path of the file; None if there is none."""
        path = self.folder / filename
        return str(path) if path.exists() else None

    def get_group(self, filename: str) -> dict[str, str] | None:
        """The files of the compiled kernel whose description this is, by name."""
        if self.get_file(filename) is None:
            return None
        return {p.name: str(p) for p in self.folder.iterdir() if not p.name.startswith(GROUP)}

    def put(self, data: Any, filename: str, binary: bool = True) -> str:
        """Nothing is kept.

        Raises:
            NotCompiled: it is anything else than what an autotuner has just found out.
        """
        if not filename.endswith(TUNED):
            raise NotCompiled(f"it was not built for this call, which needs {filename}")
        return ""

    def put_group(self, filename: str, group: dict[str, str]) -> str:
        """As `put`."""
        return self.put(group, filename)


class Compiled:
    """An entry whose kernels were compiled for the calls that they were built for.

    Args:
        entry: The candidate's.
        folder: Where Triton looks for them.
    """

    launches = staticmethod(_launches.launches)

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.entry, self.folder = entry, folder

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        return self.entry(arguments, allocate)

    def to(self, device: torch.device) -> None:
        """Move what the candidate's constructor has made."""
        _move(self.entry, device)

    def supply(self, archive: bytes) -> None:
        """Add what was built for another call."""
        _unpack(archive, self.folder)


def build(kernel: Kernel, use: Use) -> bytes:
    """As `recorded`, if the current GPU takes what Triton makes.

    Raises:
        MachineError: its driver is too old for that.
    """
    check_driver(_driver_version(), _assembler_version())
    return recorded(kernel, use)


def recorded(kernel: Kernel, use: Use) -> bytes:
    """The archive of what this use needs, from one call of the kernel.

    Raises:
        BuildFailed: it does not compile, or has no kernel; the text names the line.
        TooLarge: it needs more shared memory than the GPU has, say.
        torch.OutOfMemoryError: the GPU has not that much.
        RuntimeError: what the candidate or CUDA raised for another reason.
    """
    folder = Path(tempfile.mkdtemp())
    (path := folder / "kernel.py").write_text(kernel.source)
    _configure(folder)
    with _heard(folder / "said") as said, _compiling() as failures:
        try:
            _call(kernel, path, use)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  candidate code may raise anything
            _fail(error, troubles.trouble(error, path, said, any(f is error for f in failures)))
    return _packed(folder)


def load(kernel: Kernel, archive: Path, signature: Signature) -> Entry:
    """The entry, with the archive's kernels for all that it may launch."""
    folder = _folder()
    _unpack(archive.read_bytes(), folder)
    (path := folder / "kernel.py").write_text(kernel.source)
    _configure(folder)
    knobs.cache.manager_class, knobs.build.impl = Kept, _refuse
    return Compiled(python.entry(_executed(kernel, path), signature), folder)


def _driver_version() -> int:
    found = ctypes.c_int()
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MachineError(f"there is no NVIDIA driver: {error}") from error
    if failed := library.cuDriverGetVersion(ctypes.byref(found)):
        raise MachineError(f"the NVIDIA driver does not tell its version: CUDA error {failed}")
    return found.value


def _assembler_version() -> str:
    major, minor = torch.cuda.get_device_capability()
    compiler: Any = import_module("triton.backends.nvidia.compiler")
    return str(compiler.get_ptxas(10 * major + minor).version)


def _call(kernel: Kernel, path: Path, use: Use) -> None:
    entry = python.entry(_executed(kernel, path), use.signature)
    _move(entry, torch.device(DEVICE))
    entry([stand_in(look, DEVICE) for look in use.arguments])
    torch.cuda.synchronize()


def stand_in(look: TensorSpec, device: str) -> torch.Tensor:
    """A tensor that looks so: normal floats, zeros for all else."""
    dtype: torch.dtype = getattr(torch, look.dtype)
    count = look.nbytes // dtype.itemsize
    random = dtype.is_floating_point or dtype.is_complex
    held = torch.randn(count, device=device) if random else torch.zeros(count, device=device)
    return held.to(dtype).as_strided(look.shape, look.stride)


def _executed(kernel: Kernel, path: Path) -> ModuleType:
    module = python.execute(kernel, path)
    if not any(isinstance(value, KernelInterface) for value in vars(module).values()):
        raise BuildFailed("the source defines no @triton.jit kernel")
    return module


def _move(entry: Entry, device: torch.device) -> None:
    if (move := getattr(entry, "to", None)) is not None:
        move(device)


def _fail(error: Exception, found: Trouble) -> None:
    """Raise what the trouble is; what is none of the build's goes through, without its type."""
    if found.kind is Kind.RESOURCES:
        raise TooLarge(str(found)) from error
    if found.kind is Kind.COMPILE or isinstance(error, BuildFailed):
        raise BuildFailed(str(found)) from error
    raise RuntimeError(str(found)) from error


@contextmanager
def _heard(path: Path) -> Iterator[Path]:
    """Within this, what the compilers say goes to a file."""
    opened, before = os.open(path, os.O_WRONLY | os.O_CREAT), [os.dup(1), os.dup(2)]
    for stream in (1, 2):
        os.dup2(opened, stream)
    try:
        yield path
    finally:
        for stream, old in zip((1, 2), before, strict=True):
            os.dup2(old, stream)
            os.close(old)
        os.close(opened)


@contextmanager
def _compiling() -> Iterator[list[Exception]]:
    """Within this, what Triton's compiler raises is noted."""
    real: Callable[..., Any] = triton.compiler.compile
    failures = list[Exception]()

    def noted(*args: Any, **options: Any) -> Any:
        try:
            return real(*args, **options)
        except Exception as error:  # of whatever kind: it is noted, and goes on
            failures.append(error)
            raise

    triton.compiler.compile = noted
    try:
        yield failures
    finally:
        triton.compiler.compile = real


def _configure(folder: Path) -> None:
    """The same in both processes, as Triton's keys hold it; nothing that runs a program."""
    knobs.cache.dir = str(folder / "triton")
    knobs.autotuning.cache = True
    knobs.nvidia.mock_ptx_version = ASSEMBLER
    if (libraries := _driver_folder()) is not None:
        knobs.nvidia.libcuda_path = libraries


def _driver_folder() -> str | None:
    """Where the driver's library was loaded from, which Triton would ask ldconfig."""
    found = re.search(r"\s(/\S*)/libcuda\.so", Path("/proc/self/maps").read_text())
    return found[1] if found else None


def _refuse(*_: Any) -> str:
    raise NotCompiled("it was not built for a call with arguments of such types")


@once
def _folder() -> Path:
    """One for all that this process loads."""
    return Path(tempfile.mkdtemp())


def _packed(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.glob("triton/*/*")):
            archive.write(path, path.relative_to(folder))
    return made.getvalue()


def _unpack(archive: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(folder)
