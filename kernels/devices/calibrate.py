"""How fast is this machine really: every ceiling, measured in a few seconds.

A ceiling is the best of several tries, so a busy neighbour lowers it only if
it is busy all the time.  Results are kept per CPU model, thread count and
versions, because that is all they depend on.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear

from kernelite import __version__
from kernelite.errors import MachineError
from kernelite.kernels.backends import backend
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.devices import Bandwidth, Calibration, Ceiling, Device, ceilings, cpu
from kernelite.kernels.kernel import BuildFailed, Kernel
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

SCHEMA = "kernelite.calibration/1"
KERNEL = Kernel("cpp", ceilings.SOURCE)
#: Everything is measured so often, seconds apart, and the best kept.
ROUNDS = 2
#: How long one try of a loop runs, all tries of one figure, all tries of one product.
TRY_S = 0.001
FIGURE_S = 0.04
GEMM_S = 0.15
#: Working sets beyond this are the same DRAM and only cost time to fill.
LARGEST_BYTES = 256 << 20
#: Rows, columns and depth of the product that stands for "large".
GEMM_SIZE = 1536
Table = tuple[Bandwidth, ...]


def load_or_measure(device: Device | None = None, fresh: bool = False) -> Calibration:
    """The ceilings of ``device`` (this CPU with torch's threads if None).

    Measured only if no earlier measurement fits, or if ``fresh``.

    Raises:
        MachineError: no compiler, or the cache cannot be written.
    """
    device = device or cpu.detect(torch.get_num_threads())
    path = _path(device)
    if not fresh and (kept := _read(path)) is not None:
        return kept
    calibration = measure(device)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(json.dumps(as_json(calibration), indent=1))
        os.replace(partial, path)
    except OSError as error:
        raise MachineError(f"cannot keep the calibration in {path}: {error.strerror}") from error
    return calibration


def known(device: Device) -> Calibration | None:
    """The ceilings of ``device`` if they were measured before."""
    return _read(_path(device))


def measure(device: Device) -> Calibration:
    """Measure every ceiling now, on ``device.threads`` threads.

    Raises:
        MachineError: no compiler, or it cannot build the kernels.
    """
    started = time.perf_counter()
    library = _library()
    with _torch_threads(device.threads), torch.no_grad():
        rounds = [_round(library, device) for _ in range(ROUNDS)]
    copies, reads, peaks, gemms, overheads = zip(*rounds, strict=True)
    copy, read = (
        tuple(max(rows, key=lambda row: row.ceiling.value) for rows in zip(*tables, strict=True))
        for tables in (copies, reads)
    )
    fma, gemm = (max(found, key=lambda ceiling: ceiling.value) for found in (peaks, gemms))
    overhead = min(overheads, key=lambda ceiling: ceiling.value)
    seconds = round(time.perf_counter() - started, 2)
    return Calibration(device, copy, read, fma, gemm, overhead, versions(), seconds)


def versions() -> dict[str, str]:
    """What the figures depend on besides the device."""
    return {"kernelite": __version__, "torch": torch.__version__, "kernels": KERNEL.id}


def gemm_us(rows: int, columns: int, depth: int) -> float:
    """Microseconds of the best library product (rows, depth) x (depth, columns), measured."""
    with torch.no_grad():
        return 1e6 * min(best_s for best_s, _ in _gemm_times(rows, columns, depth))


def as_json(calibration: Calibration) -> dict[str, Any]:
    """The calibration as one JSON document."""
    return {"schema": SCHEMA, **asdict(calibration)}


def from_json(fields: dict[str, Any]) -> Calibration:
    """The inverse of `as_json`."""
    device = Device(**{**fields["device"], "shared": tuple(fields["device"]["shared"])})
    copy, read = (
        tuple(Bandwidth(r["working_set_bytes"], Ceiling(**r["ceiling"])) for r in fields[name])
        for name in ("copy", "read")
    )
    fma, gemm, overhead = (Ceiling(**fields[name]) for name in ("fma", "gemm", "overhead"))
    return Calibration(
        device, copy, read, fma, gemm, overhead, fields["versions"], fields["seconds"]
    )


def working_sets(device: Device) -> list[int]:
    """Bytes from half of all L1 caches to beyond the last level, each four times the one before."""
    smallest = device.caches_bytes.get("L1", 32 << 10) // 2 * device.threads
    last = max(device.caches_bytes.values(), default=16 << 20)
    wanted = min(LARGEST_BYTES, max(64 << 20, 4 * last))
    sizes = [smallest]
    while sizes[-1] < wanted:
        sizes.append(sizes[-1] * 4)
    return sizes


def _path(device: Device) -> Path:
    return cache_folder("calibration") / f"{_key(device)}.json"


def _key(device: Device) -> str:
    text = json.dumps([asdict(device), versions()], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> Calibration | None:
    """A stored calibration; None if there is none that can be read."""
    try:
        fields = json.loads(path.read_text())
        return from_json(fields) if fields["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(backend(KERNEL.backend).build(KERNEL)))
    except BuildFailed as error:
        raise MachineError(f"g++ cannot build the calibration kernels: {error}") from error


def _round(library: ctypes.CDLL, device: Device) -> tuple[Table, Table, Ceiling, Ceiling, Ceiling]:
    copy, read = _bandwidths(library, device)
    return copy, read, _fma(library, device), _gemm(GEMM_SIZE), _overhead()


def _bandwidths(library: ctypes.CDLL, device: Device) -> tuple[Table, Table]:
    """Copy and read tables; the copy keeps the better of plain and streaming stores."""
    largest = max(working_sets(device)) // 4
    block, sums = torch.ones(largest), torch.empty(16 * device.threads)
    copies, reads = [], []
    for size in working_sets(device):
        half, whole = size // 8, size // 4
        source, target = block[:half], block[half:whole]
        plain = _rate(library.copy_plain, target, source, half, device.threads)
        streaming = _rate(library.copy_streaming, target, source, half, device.threads)
        store = "streaming" if streaming > plain else "plain"
        moved = Ceiling(8 * half * max(plain, streaming), "bytes/s", f"copy, {store} stores")
        copies.append(Bandwidth(size, moved))
        seen = _rate(library.read_only, sums, block[:whole], whole, device.threads)
        reads.append(Bandwidth(size, Ceiling(4 * whole * seen, "bytes/s", "sum of float32")))
    return tuple(copies), tuple(reads)


def _rate(
    function: Any, target: torch.Tensor, source: torch.Tensor, count: int, threads: int
) -> float:
    """Passes over ``count`` elements per second, at best."""

    def run(passes: int) -> None:
        function(
            ctypes.c_void_p(target.data_ptr()), ctypes.c_void_p(source.data_ptr()),
            ctypes.c_int64(count), ctypes.c_int64(passes), ctypes.c_int(threads),
        )  # fmt: skip

    return _passes_per_s(run)


def _passes_per_s(run: Callable[[int], None]) -> float:
    """The best rate of ``run(passes)``, with passes enough for one try's time."""
    run(1)
    once_s = _best_s(lambda: run(1), 0)
    passes = max(1, round(TRY_S / once_s))
    return passes / _best_s(lambda: run(passes), FIGURE_S)


def _best_s(call: Callable[[], object], budget_s: float) -> float:
    """The shortest of as many tries as fit into ``budget_s``, at least two."""
    return min(_samples_s(call, budget_s))


def _samples_s(call: Callable[[], object], budget_s: float) -> list[float]:
    times: list[float] = []
    while len(times) < 2 or sum(times) < budget_s:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def _fma(library: ctypes.CDLL, device: Device) -> Ceiling:
    sums = torch.empty(16 * device.threads)

    def run(passes: int) -> None:
        library.multiply_add(
            ctypes.c_void_p(sums.data_ptr()), ctypes.c_int64(1000 * passes),
            ctypes.c_int(device.threads),
        )  # fmt: skip

    flops = 1000 * int(library.multiply_add_flops()) * device.threads
    rate = flops * _passes_per_s(run)
    return Ceiling(rate, "flops/s", f"float32 multiply-add in registers, {device.simd}")


def _gemm(size: int) -> Ceiling:
    best_s, name = min(_gemm_times(size, size, size))
    return Ceiling(2 * size**3 / best_s, "flops/s", f"{name} {size}x{size}x{size}, float32")


def _gemm_times(rows: int, columns: int, depth: int) -> list[tuple[float, str]]:
    """Best seconds and name of each library's product of float32 matrices."""
    x, weight = torch.randn(rows, depth), torch.randn(columns, depth)
    calls: dict[str, Callable[[], torch.Tensor]] = {"torch linear": lambda: linear(x, weight)}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        fused = torch.ops.mkldnn._linear_pointwise
        calls["oneDNN linear"] = lambda: fused(x, weight, None, "none", [], "")
        calls["oneDNN linear, packed weight"] = lambda: fused(x, packed, None, "none", [], "")
    times = []
    for name, call in calls.items():
        call()
        times.append((_best_s(call, GEMM_S), name))
    return times


def _overhead() -> Ceiling:
    """Shortest call of a kernel with nothing to do, output allocated as in a model."""
    built = backend(KERNEL.backend)
    look = TensorSpec((16,), (1,), "float32")
    entry = built.load(KERNEL, built.build(KERNEL), Signature((look,), ({"tensor": True},), (), ()))
    argument = torch.ones(16)
    once_s = _best_s(lambda: entry([argument]), FIGURE_S)
    return Ceiling(1e6 * once_s, "us", "backend call, one empty parallel region")


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
