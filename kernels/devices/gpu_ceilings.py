"""How fast is a GPU really: copying, and the products of its matrix units, measured in seconds.

Every figure is the best of many tries, each between two events on the GPU's own clock.  Kept per
model and versions, as `calibrate` does for a CPU.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from kernelite import __version__
from kernelite.errors import MachineError
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.devices import Ceiling

SCHEMA = "kernelite.gpu-calibration/1"
COPIED_BYTES = 1 << 30  # read, and as many written: no level-2 cache holds a tenth of it
PRODUCT_SIZE = 8192
TRIES, CALLS = 10, 5
#: How each figure's product is made: the type of the matrices, and whether TF32 may stand in.
PRODUCTS: Mapping[str, tuple[torch.dtype, bool]] = {
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
    "tf32": (torch.float32, True),
    "float32": (torch.float32, False),
}


@dataclass(frozen=True, slots=True)
class GpuCalibration:
    """Every measured ceiling of one GPU.

    Attributes:
        device: The vendor's name.
        copy: Bytes read and written per second.
        products: Operations per second of a large matrix product, by the type of the matrices.
        versions: What the figures depend on besides the device.
    """

    device: str
    copy: Ceiling
    products: Mapping[str, Ceiling]
    versions: Mapping[str, str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The calibration as one JSON document."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> GpuCalibration:
        """The inverse of `as_json`."""
        products = {name: Ceiling(**one) for name, one in fields["products"].items()}
        copy = Ceiling(**fields["copy"])
        return cls(fields["device"], copy, products, fields["versions"], fields["seconds"])


def measure(full_name: str) -> GpuCalibration:
    """Measure every ceiling of a GPU now; ``cuda:0`` is the first.

    Raises:
        MachineError: it cannot be used, or has not the memory for it.
    """
    started = time.perf_counter()
    try:
        device = torch.device(full_name)
        name = torch.cuda.get_device_name(device)
        with torch.cuda.device(device), torch.no_grad():
            copy = _copy(device)
            products = {kind: _product(device, kind) for kind in PRODUCTS}
            torch.cuda.empty_cache()
    except (RuntimeError, AssertionError) as error:
        raise MachineError(f"cannot measure {full_name}: {error}") from error
    seconds = round(time.perf_counter() - started, 2)
    return GpuCalibration(name, copy, products, versions(), seconds)


def versions() -> dict[str, str]:
    """What the figures depend on besides the device."""
    return {"kernelite": __version__, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def keep(found: GpuCalibration) -> None:
    """Remember it for `known`.

    Raises:
        MachineError: the cache cannot be written.
    """
    path = _path(found.device)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(json.dumps(found.as_json(), indent=1))
        os.replace(partial, path)
    except OSError as error:
        raise MachineError(f"cannot keep the calibration in {path}: {error.strerror}") from error


def known(device: str) -> GpuCalibration | None:
    """The ceilings of the GPU that its vendor calls so, if they were measured before."""
    try:
        fields = json.loads(_path(device).read_text())
        return GpuCalibration.from_json(fields) if fields["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(device: str) -> Path:
    text = json.dumps([device, versions()], sort_keys=True)
    return cache_folder("calibration") / f"gpu-{sha256(text.encode()).hexdigest()[:16]}.json"


def _copy(device: torch.device) -> Ceiling:
    source = torch.zeros(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    seconds = _best_s(lambda: target.copy_(source))
    return Ceiling(2 * COPIED_BYTES / seconds, "bytes/s", f"copy of {COPIED_BYTES >> 20} MiB")


def _product(device: torch.device, kind: str) -> Ceiling:
    dtype, rounded = PRODUCTS[kind]
    x = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device).to(dtype)
    y = torch.empty_like(x)
    with _tf32(rounded):
        seconds = _best_s(lambda: torch.mm(x, x, out=y))
    how = f"torch.mm {PRODUCT_SIZE}x{PRODUCT_SIZE}x{PRODUCT_SIZE}, {kind}"
    return Ceiling(2 * PRODUCT_SIZE**3 / seconds, "flops/s", how)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _best_s(call: Callable[[], object]) -> float:
    """Seconds of one call, in the best of some tries of some calls each."""
    call()
    times = []
    for _ in range(TRIES):
        first, last = _event(), _event()
        first.record()
        for _ in range(CALLS):
            call()
        last.record()
        last.synchronize()
        times.append(1e-3 * float(first.elapsed_time(last)) / CALLS)
    return min(times)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
