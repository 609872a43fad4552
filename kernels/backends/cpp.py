"""C++ on the CPU: one text, plain g++, called through ctypes.

``extern "C"`` and destination passing keep a build at half a second (a torch
extension takes 25 s) and let the caller own and poison the outputs.  The
contract is in `kernels.launch`.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from kernelite.errors import MachineError
from kernelite.kernels import launch
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import Allocate, BuildFailed, Entry, Home, Kernel, Use
from kernelite.kernels.memory import Pool
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec, specs

FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC",
         "-fno-math-errno", "-fno-trapping-math", "-w")  # fmt: skip
TIMEOUT_S = 120
TEMPLATES = Path(__file__).resolve().parents[1] / "cpp_templates"


@cache
def compiler() -> tuple[str, str] | None:
    """Path and version line of g++, or None."""
    path = shutil.which("g++")
    if path is None:
        return None
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return path, asked.stdout.splitlines()[0] if asked.stdout else "unknown"


class CppBackend:
    """Builds shared objects with g++ and calls them through ctypes."""

    suffix = ".cpp"
    marker = ""
    devices: Mapping[str, Home] = {"cpu": Home()}

    def missing(self) -> str | None:
        """A C++ compiler, if there is none."""
        return None if compiler() else "no g++ found; install it, e.g. apt-get install g++"

    def artefact(self, kernel: Kernel, use: Use | None = None) -> Path:
        """``<cache>/cpp/<hash>.so``; see `kernels.kernel.Backend`."""
        text = "\n".join((kernel.source, *_command(kernel), _cpu(), _headers()))
        return cache_folder("cpp") / f"{sha256(text.encode()).hexdigest()[:24]}.so"

    def build(self, kernel: Kernel, use: Use | None = None) -> Path:
        """Compile with g++; see `kernels.kernel.Backend`."""
        artefact = self.artefact(kernel)
        if not artefact.exists():
            path, _, *flags = _command(kernel)
            _compile((path, *flags), kernel.source, artefact)
        return artefact

    def load(self, kernel: Kernel, artefact: Path, signature: Signature) -> Entry:
        """Open the shared object; see `kernels.kernel.Backend`."""
        spec = launch.parse(kernel.source)
        try:
            library = ctypes.CDLL(str(artefact))
        except OSError as error:
            raise BuildFailed(f"the built kernel cannot be loaded: {error}") from error
        try:
            function = getattr(library, spec.entry)
        except AttributeError as error:
            raise BuildFailed(f'no extern "C" function {spec.entry!r} in the source') from error
        function.restype = None
        return _Call(library, function, spec, signature.outputs)


def _command(kernel: Kernel) -> tuple[str, ...]:
    """The compiler's path and version, and the flags for this kernel."""
    flags = (*FLAGS, *(_torch_flags() if launch.parse(kernel.source).headers else ()))
    if (found := compiler()) is None:
        raise MachineError(str(BACKEND.missing()))
    return (*found, *flags)


def _compile(command: Sequence[str], source: str, artefact: Path) -> None:
    """Run g++; the result appears under its name only when it is whole."""
    with tempfile.TemporaryDirectory(dir=artefact.parent) as folder:
        text, result = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        text.write_text(source)
        command = [*command, f"-I{TEMPLATES}", str(text), "-o", str(result)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
                env={"PATH": os.environ.get("PATH", ""), "TMPDIR": folder, "LC_ALL": "C"},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BuildFailed(f"g++ took more than {TIMEOUT_S} s") from error
        if "No space left on device" in done.stderr:
            raise MachineError(f"no space left to build kernels in {artefact.parent}")
        if done.returncode:
            raise BuildFailed(done.stderr.replace(folder, "")[-4000:])
        os.replace(result, artefact)


@cache
def _torch_flags() -> tuple[str, ...]:
    """PyTorch's headers and libraries (loaded already at run time), its version for the cache."""
    root = Path(torch.__file__).parent
    return (f"-I{root / 'include'}", f"-L{root / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu",
            "-lc10", f"-DTORCH_HEADERS={torch.__version__}")  # fmt: skip


@cache
def _headers() -> str:
    """Text of the headers that a source may include."""
    return "\n".join(path.read_text() for path in sorted(TEMPLATES.glob("*.h")))


@cache
def _cpu() -> str:
    """What -march=native depends on: the CPU's model and flags."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(line for line in lines[:40] if line.startswith(("model name", "flags")))


class _Call:
    """Fills in pointers and calls; copies a tensor only if its layout is not the declared one.

    What depends on shapes alone is worked out at the first call with them.
    """

    def __init__(
        self, library: ctypes.CDLL, function: Any, spec: launch.Launch,
        outputs: Sequence[TensorSpec],
    ) -> None:  # fmt: skip
        self.library, self.function, self.spec = library, function, spec
        self.wanted = tuple(outputs)
        self.written = tuple(
            TensorSpec(o.shape, spec.layouts.get(f"out{i}", o.contiguous_stride), o.dtype)
            for i, o in enumerate(outputs)
        )
        self.pool = Pool()
        self.shapes: list[torch.Size] | None = None
        self.values: list[Any] = []
        self.pointers: list[tuple[int, bool, int]] = []
        self.strides: list[tuple[int, ...]] = []

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        allocate = allocate or self.pool.empty
        if [tensor.shape for tensor in arguments] != self.shapes:
            self._bind(arguments)
        ready = [
            tensor if (found := tensor.stride()) == strides else _laid_out(tensor, found, strides)
            for tensor, strides in zip(arguments, self.strides, strict=True)
        ]
        results = [allocate(spec) for spec in self.written]
        values = list(self.values)
        for place, is_output, index in self.pointers:
            values[place] = (results if is_output else ready)[index].data_ptr()
        self.function(*values)
        if self.written == self.wanted:
            return results
        return [
            r if w == o else allocate(o).copy_(r)
            for r, w, o in zip(results, self.written, self.wanted, strict=True)
        ]

    def close(self) -> None:
        """Close the library, as a process does at its end; the entry cannot be called again."""
        _ctypes.dlclose(self.library._handle)

    def _bind(self, arguments: Sequence[torch.Tensor]) -> None:
        looks = specs(arguments)
        bound = launch.numbers(self.spec, looks, self.written)
        self.function.argtypes = [ctypes.c_void_p if isinstance(b, str) else type(b) for b in bound]
        self.values = [None if isinstance(b, str) else b.value for b in bound]
        self.pointers = [
            (place, b.startswith("out"), int(b.lstrip("inout")))
            for place, b in enumerate(bound)
            if isinstance(b, str)
        ]
        self.strides = [
            self.spec.layouts.get(f"in{i}", look.contiguous_stride) for i, look in enumerate(looks)
        ]
        self.shapes = [tensor.shape for tensor in arguments]


def _laid_out(
    tensor: torch.Tensor, found: tuple[int, ...], strides: tuple[int, ...]
) -> torch.Tensor:
    """The tensor with other strides; along an axis of one element any stride is right."""
    if (
        all(a == b or n == 1 for a, b, n in zip(found, strides, tensor.shape, strict=True))
        or not tensor.numel()
    ):
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


BACKEND = CppBackend()
