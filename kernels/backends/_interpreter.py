"""Triton's interpreter on a machine without a GPU, with what it lacks.

Importing this turns the interpreter on for the whole process, which must not
have imported Triton before.  Added to it are

- autotuning: which configuration runs follows from what the arguments hold, so
  that a judgement sees many and the same inputs give the same answer;
- bfloat16: casts round to nearest even, products are of the numbers and not of
  their bit patterns;
- comparisons of scalars: they give truth values, which can be masks of blocks;
- reductions by a kernel's own function: pair by pair, as GPUs do, and not in one long chain,
  whose rounding no GPU has and which took seconds;
- host code that names a GPU: ``cuda`` means the CPU, and questions about the
  device are answered for a small one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from kernelite.errors import MachineError
from kernelite.kernels.backends import _launches
from kernelite.kernels.backends._as_cuda import pretending
from kernelite.kernels.kernel import Allocate, Entry

os.environ["TRITON_INTERPRET"] = "1"

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime import autotuner, interpreter
from triton.runtime.driver import driver

CAPABILITY = (9, 0)
MULTIPROCESSORS = 8
SHARED_BYTES = 227 << 10
BENCHMARKED_MS = 1.0

_turn = 0  # of the call, which says what autotuners choose


class Emulated:
    """An entry whose kernels run in the interpreter."""

    launches = staticmethod(_launches.launches)

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        global _turn
        _turn = _fingerprint(arguments)
        with on_cpu():
            return self.entry(arguments, allocate)


def _fingerprint(arguments: Sequence[torch.Tensor]) -> int:
    found = 0
    for argument in arguments:
        held = argument.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
        found = zlib.crc32(held.numpy().tobytes(), found)
    return found


def is_kernel(value: object) -> bool:
    """Whether a module's global is something that can be launched."""
    while isinstance(value, autotuner.Autotuner | autotuner.Heuristics):
        value = value.fn
    return isinstance(value, interpreter.InterpretedFunction)


def on_cpu() -> AbstractContextManager[None]:
    """Within this, host code that names a GPU gets the CPU."""
    return pretending("cpu", _PROPERTIES)


_PROPERTIES = SimpleNamespace(
    name="emulated", major=CAPABILITY[0], minor=CAPABILITY[1], warp_size=32,
    multi_processor_count=MULTIPROCESSORS, total_memory=1 << 36, L2_cache_size=50 << 20,
    shared_memory_per_block_optin=SHARED_BYTES, max_threads_per_multi_processor=2048,
    regs_per_multiprocessor=1 << 16,
)  # fmt: skip


class _Utilities:
    """What Triton asks about a device's limits."""

    def get_device_properties(self, device: int = 0) -> dict[str, int]:
        """The limits of the emulated one."""
        return {
            "max_shared_mem": SHARED_BYTES, "max_num_regs": 1 << 16, "warpSize": 32,
            "multiprocessor_count": MULTIPROCESSORS, "sm_clock_rate": 1, "mem_clock_rate": 1,
            "mem_bus_width": 1,
        }  # fmt: skip


class _NoDevice:
    """Stands where Triton looks for a GPU's driver."""

    utils = _Utilities()

    def is_active(self) -> bool:
        """Always, once it is set."""
        return True

    def get_current_target(self) -> Any:
        """What host code may branch on."""
        return GPUTarget("cuda", CAPABILITY[0] * 10 + CAPABILITY[1], 32)

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        """The only one."""
        return 0

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        """As `get_current_target`."""
        return CAPABILITY

    def get_active_torch_device(self) -> torch.device:
        """Where tensors really are."""
        return torch.device("cpu")

    def get_benchmarker(self) -> Any:
        """Runs a configuration once; all take the same time."""

        def benchmark(call: Any, quantiles: Sequence[float] | None = None, **_: Any) -> Any:
            call()
            return [BENCHMARKED_MS] * len(quantiles) if quantiles else BENCHMARKED_MS

        return benchmark

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        """Nothing to clear."""
        return torch.empty(1)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """Nothing to clear."""


def _numbers(handle: Any) -> np.ndarray:
    """A handle's elements in a type that NumPy computes with: float32 for shorter floats."""
    data: np.ndarray = handle.data
    if handle.dtype.scalar == tl.bfloat16:
        return _widened(data).view(np.float32)
    return data.astype(np.float32) if data.dtype == np.float16 else data


def _widened(bits: np.ndarray) -> np.ndarray:
    """Of bfloat16 the bits in float32."""
    found: np.ndarray = bits.astype(np.uint32) << 16
    return found


def _narrowed(values: np.ndarray) -> np.ndarray:
    """The bits in bfloat16, rounded to nearest even as PyTorch does."""
    rounded = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)
    bits: np.ndarray = rounded.view(torch.int16).numpy().view(np.uint16)
    return bits.reshape(values.shape)


def _convert_float(values: np.ndarray, source: Any, target: Any, rounding: Any) -> Any:
    if target == tl.bfloat16 and source in (tl.float32, tl.float64):
        return _narrowed(values)
    if source == tl.bfloat16 and target == tl.float32:
        return _widened(values)
    return _real_convert_float(values, source, target, rounding)


def _create_dot(self: Any, a: Any, b: Any, d: Any, precision: Any, imprecise: Any) -> Any:
    short = {a.dtype.scalar, b.dtype.scalar} & {tl.bfloat16, tl.float16}
    if not short:
        return _real_create_dot(self, a, b, d, precision, imprecise)
    product = np.matmul(_numbers(a), _numbers(b)) + _numbers(d)
    return interpreter.TensorHandle(product.astype(d.data.dtype), d.dtype.scalar)


def _binary_op(self: Any, a: Any, b: Any, operation: Any) -> Any:
    found = _real_binary_op(self, a, b, operation)
    if found.data.dtype == np.bool_:
        return interpreter.TensorHandle(found.data, tl.int1)
    return found


class _Branching(Exception):
    """A function asks whether something holds for a block, which no GPU could answer."""


def _one_truth(self: Any) -> bool:
    if self.handle.data.size != 1:
        raise _Branching
    return bool(self.handle.data)


def _generic_reduce(self: Any, inputs: Any) -> Any:
    """Neighbours in pairs; a function that branches gets its elements one by one."""
    if self.axis is None:
        return _real_generic_reduce(self, inputs)
    truth, tl.core.tensor.__bool__ = tl.core.tensor.__bool__, _one_truth
    try:
        while inputs[0].shape[self.axis] > 1:
            pairs = [_every_second(self, one, start) for start in (0, 1) for one in inputs]
            found = self.combine_fn.fn(*pairs)
            inputs = found if isinstance(found, tuple) else (found,)
    except _Branching:
        return _real_generic_reduce(self, inputs)
    finally:
        tl.core.tensor.__bool__ = truth
    data = [one.handle.data if self.keep_dims else one.handle.data.squeeze(self.axis)
            for one in inputs]  # fmt: skip
    return [self.to_tensor(d, one.dtype) for d, one in zip(data, inputs, strict=True)]


def _every_second(self: Any, tensor: Any, start: int) -> Any:
    places: list[Any] = [slice(None)] * len(tensor.shape)
    places[self.axis] = slice(start, None, 2)
    return self.to_tensor(tensor.handle.data[tuple(places)], tensor.dtype)


def _tuned(self: Any, *args: Any, **kwargs: Any) -> Any:
    configurations = self.configs
    if len(configurations) > 1:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        left = list(self.prune_configs(kwargs))
        self.configs = [left[_turn % len(left)]]
    try:
        return _real_run(self, *args, **kwargs)
    finally:
        self.configs = configurations


try:
    _real_convert_float = interpreter._convert_float
    _real_create_dot = interpreter.InterpreterBuilder.create_dot
    _real_binary_op = interpreter.InterpreterBuilder.binary_op
    _real_generic_reduce = interpreter.ReduceOps.generic_reduce
    _real_run = autotuner.Autotuner.run
    _real_launch = interpreter.InterpretedFunction.run
except AttributeError as error:
    raise MachineError(f"Triton {triton.__version__} is not one that is known here") from error
interpreter._convert_float = _convert_float
interpreter.InterpreterBuilder.create_dot = _create_dot
interpreter.InterpreterBuilder.binary_op = _binary_op
interpreter.ReduceOps.generic_reduce = _generic_reduce
autotuner.Autotuner.run = _tuned
interpreter.InterpretedFunction.run = _launches.counted(_real_launch)
driver.set_active(_NoDevice())
