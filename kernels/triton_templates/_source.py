"""What stands around a template's kernels: their arithmetic above, their launch below."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kernelite.kernels.devices import gpu
from kernelite.kernels.kernel import Kernel

#: The GPU whose bounds the heading names; others are near enough in operations per byte.
REFERENCE = "H200"
#: How a body imports functions from another.
SHARED = re.compile(r"\nfrom kernelite\.kernels\.triton_templates\.(\w+) import (?:\([^)]*\)|.*)")
GAP = "\n\n\n"


@dataclass(frozen=True, slots=True)
class Work:
    """What a problem makes every kernel do.

    Attributes:
        bytes: To be read and written, each element once.
        flops: Operations; a multiply-add is two.
        matrix: Type of the matrix units that may do them, as the device tables have it
            (``fp16``, ``bf16``, ``tf32``, ``int8``); empty if only vector units can.
    """

    bytes: int
    flops: int
    matrix: str = ""


def written(label: str, work: Work, body: Path, run: str) -> Kernel:
    """The kernel: ``body``'s text between its arithmetic and the function ``run``.

    Args:
        label: What it computes, with shapes and types.
        work: What that takes.
        body: A Python module with the ``@triton.jit`` kernels and their host code.
        run: The text of ``run``, which takes the flat arguments.
    """
    heading = "".join(f"# {line}\n" for line in (label, *arithmetic(work)))
    return Kernel("triton", f"{heading}{_whole(body)}\n\n{run.rstrip()}\n")


def _whole(body: Path) -> str:
    """The text of ``body``, behind its imports the functions of the bodies that it imports from."""
    imports, _, _ = body.read_text().partition(GAP)
    return GAP.join([SHARED.sub("", imports).rstrip(), *_functions(body, set())])


def _functions(body: Path, known: set[str]) -> list[str]:
    """The functions of ``body`` behind those that it needs, each body once."""
    if body.stem in known:
        return []
    known.add(body.stem)
    imports, _, own = body.read_text().partition(GAP)
    needed = [body.with_name(f"{name}.py") for name in SHARED.findall(imports)]
    return [*(text for each in needed for text in _functions(each, known)), own.rstrip()]


def arithmetic(work: Work) -> list[str]:
    """Bytes, operations and the bound that they meet on the `REFERENCE` GPU, modelled."""
    device = gpu.find(REFERENCE)
    peaks, kind = (device.matrix, work.matrix) if work.matrix else (device.vector, "fp32")
    bandwidth, peak = device.bandwidth, peaks[kind]
    assert bandwidth is not None
    memory_us = 1e6 * work.bytes / bandwidth.value
    compute_us = 1e6 * work.flops / peak.value
    bound = "memory" if memory_us >= compute_us else f"{kind} arithmetic"
    return [
        f"{work.bytes:,} bytes, {work.flops:,} operations:"
        f" {work.flops / max(work.bytes, 1):.1f} per byte; an {REFERENCE} has"
        f" {peak.value / bandwidth.value:.1f} ({kind}).",
        f"So {bound} is the bound: {max(memory_us, compute_us):.2f} us there (modelled).",
    ]
