"""Triton on a machine without the GPU that it compiles for; all that is private of it is here.

The binder, the specialisation, the autotuner and the compiler are Triton's
own.  What stands in is the device's driver: it answers as the target would and
keeps launches instead of making them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
import triton.compiler
import triton.testing
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler.errors import CompilationError
from triton.runtime import _allocation, cache
from triton.runtime.driver import driver
from triton.runtime.errors import OutOfResources

from kernelite.errors import MachineError
from kernelite.kernels.targets import Target

with suppress(ImportError):
    import triton.experimental.gluon.nvidia.hopper  # as the first launch would, in every process

__all__ = ["Build", "CompilationError", "Device", "OutOfResources", "disassembler", "install"]

BENCHMARKED_MS = 1.0
Grid = tuple[int, int, int]


@dataclass(slots=True)
class Build:
    """One configuration of a kernel, as it went through Triton's compiler.

    Attributes:
        source: Triton's ``ASTSource``.
        options: That it was compiled with.
        log: What the assembler said.
        kernel: Triton's ``CompiledKernel``; None if there was an ``error``.
        grids: Those that it was launched with.
    """

    source: Any
    options: dict[str, Any]
    log: str = ""
    kernel: Any = None
    error: Exception | None = None
    grids: dict[Grid, None] = field(default_factory=dict)

    @property
    def assembly(self) -> dict[str, Any]:
        """Texts and binaries by name: ``ptx``, ``cubin``, ``amdgcn``; empty if there are none."""
        return {} if self.kernel is None else dict(self.kernel.asm)

    def fact(self, name: str) -> Any:
        """A field of Triton's metadata, or the option that asks for it; None if it has none."""
        metadata = self.kernel and self.kernel.metadata
        return getattr(metadata, name, self.options.get(name))

    @property
    def constants(self) -> dict[str, Any]:
        """Values of those parameters that are compiled in, by name."""
        names = self.source.fn.arg_names
        return {".".join([names[path[0]], *map(str, path[1:])]): value
                for path, value in self.source.constants.items()}  # fmt: skip

    @property
    def arguments(self) -> dict[str, str]:
        """Types of the others, with ``%16`` behind those that are known to be divisible by 16."""
        names = self.source.fn.arg_names
        divisible = {names[path[0]] for path, hints in self.source.attrs.items()
                     if len(path) == 1 and ["tt.divisibility", 16] in map(list, hints)}  # fmt: skip
        return {name: f"{kind} %16" if name in divisible else str(kind)
                for name, kind in self.source.signature.items() if kind != "constexpr"}  # fmt: skip


class Device:
    """Stands where Triton looks for the driver of a GPU.

    Attributes:
        builds: All that was compiled, by the hash that Triton gives it.
        launches: How many kernels were launched so far.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.builds: dict[str, Build] = {}
        self.launches = 0
        self.utils = self

    def compile(self, source: Any, target: Any = None, options: Any = None, **rest: Any) -> Any:
        """Triton's compiler, and a look at what comes out of it."""
        build = Build(source, dict(options or {}))
        try:
            with redirect_stdout(io.StringIO()) as log:
                build.kernel = _compile(source, target=target, options=options, **rest)
        except Exception as error:  # of whatever kind: it is told, and goes on
            build.error = error
            self.builds[f"failed {len(self.builds)}"] = build
            raise
        build.log = log.getvalue()
        self.builds.setdefault(build.kernel.metadata.hash, build)
        return build.kernel

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        """What Triton calls to launch a kernel."""

        def launch(x: int, y: int, z: int, stream: int, *rest: Any) -> None:
            for number, argument in enumerate(rest[5:]):
                if isinstance(argument, torch.Tensor) and not argument.is_cuda:
                    raise ValueError(f"argument {number} is a tensor on the {argument.device}")
            if size := getattr(metadata, "global_scratch_size", 0) * x * y * z:
                _allocation._allocator.get()(size, metadata.global_scratch_align, stream)
            self.builds[metadata.hash].grids[x, y, z] = None
            self.launches += 1

        return launch

    def load_binary(self, *_: Any) -> tuple[int, int, int, int, int]:
        """Module, function, registers, spills and threads; nothing is loaded."""
        return 1, 1, 0, 0, self.target.limit("threads_per_block")

    def unload_module(self, module: int) -> None:
        """Nothing was loaded."""

    def get_device_properties(self, device: int = 0) -> dict[str, int]:
        """The limits of the target, as far as they are known."""
        known = {
            "max_shared_mem": self.target.limit("shared_per_block_optin"),
            "max_num_regs": self.target.limit("registers_per_multiprocessor"),
            "warpSize": self.target.limit("warp_size"),
        }
        count = self.target.multiprocessors
        return known if count is None else known | {"multiprocessor_count": count}

    def is_active(self) -> bool:
        """Always, once it is set."""
        return True

    def get_current_target(self) -> Any:
        """What is compiled for, and what host code may branch on."""
        arch, threads = self.target.arch, self.target.limit("warp_size")
        if self.target.amd:
            return GPUTarget("hip", arch, threads)
        return GPUTarget("cuda", int(arch.removeprefix("sm_")), threads)

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def set_current_device(self, device: int) -> None:
        """There is only one."""

    def get_current_stream(self, device: int = 0) -> int:
        """The only one."""
        return 0

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        """As PyTorch has it."""
        return self.target.capability

    def get_active_torch_device(self) -> torch.device:
        """Where host code is made to believe that its tensors are."""
        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        """Answers as the target would."""
        return torch.cuda

    def get_benchmarker(self) -> Any:
        """Runs a configuration once, so that each is compiled; all take the same time."""
        return _benchmark

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        """Nothing to clear."""
        return torch.empty(1)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """Nothing to clear."""


def _benchmark(
    call: Any, *_: Any, quantiles: Sequence[float] | None = None, **__: Any
) -> list[float] | float:
    call()
    return [BENCHMARKED_MS] * len(quantiles) if quantiles else BENCHMARKED_MS


def install(target: Target) -> Device:
    """Have this process's Triton compile for the target; for good."""
    device = Device(target)
    driver.set_active(device)
    triton.compiler.compile = device.compile
    triton.testing.do_bench = triton.testing.do_bench_cudagraph = _benchmark
    knobs.nvidia.dump_ptxas_log = True
    return device


def disassembler() -> str:
    """The one that comes with Triton, or else what is installed under that name, if anything."""
    try:
        return str(knobs.nvidia.nvdisasm.path)
    except RuntimeError:
        return "nvdisasm"


try:
    _compile = triton.compiler.compile
    cache.triton_key()  # reads all of Triton; forked processes share the answer
    _needed = (_allocation._allocator, knobs.nvidia.dump_ptxas_log)
except AttributeError as error:
    raise MachineError(f"Triton {triton.__version__} is not one that is known here") from error
