"""How long a GPU would take at its published figures: for ranking work, never to claim a time.

After Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009.  Every byte comes
from memory: no vendor publishes the bandwidth of its caches.  Products run at the peak
of the type that they are in, on whichever units reach it; float32 is not rounded to TF32.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kernelite.errors import UsageError
from kernelite.kernels.devices import Modelled
from kernelite.kernels.devices.specification import Figure, Gpu

#: What a kernel adds to a stream of kernels besides its own work: 3.8 us from one 2.9 us kernel to
#: the next on a V100.  "Getting Started with CUDA Graphs": https://developer.nvidia.com/blog/cuda-graphs/
LAUNCH_US = 0.9
NAMES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16",
         "int8": "int8", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Published:
    """The roofline of a GPU's tables."""

    gpu: Gpu
    bandwidth: Figure
    vector: Figure

    @classmethod
    def of(cls, gpu: Gpu) -> Published:
        """The roofline of this GPU.

        Raises:
            UsageError: its bandwidth or its float32 peak is not known.
        """
        if gpu.bandwidth is None or "fp32" not in gpu.vector:
            raise UsageError(
                f"the tables know neither bandwidth nor peak of {gpu.name}, so nothing can be"
                " ranked for it; name a device, such as --target h200"
            )
        return cls(gpu, gpu.bandwidth, gpu.vector["fp32"])

    def as_json(self) -> dict[str, Any]:
        """What a run notes of the GPU: the figures that its model is made of."""
        peaks = {"vector": self.gpu.vector, "matrix": self.gpu.matrix}
        tables = {kind: {name: asdict(one) for name, one in table.items()}
                  for kind, table in peaks.items()}  # fmt: skip
        return {"name": self.gpu.name, "arch": self.gpu.arch, "launch_us": LAUNCH_US,
                "bandwidth": asdict(self.bandwidth), **tables}  # fmt: skip

    def time_us(self, flops: float, bytes: float, product_of: str = "") -> Modelled:
        """The larger of computing and moving, plus one launch.

        Args:
            flops: Operations; a multiply-add is two.
            bytes: Read and written.
            product_of: The type, as PyTorch calls it, of what matrix units may multiply;
                empty if all is left to the vector units.
        """
        compute_us = 1e6 * flops / self._peak(product_of)
        memory_us = 1e6 * bytes / self.bandwidth.value
        longest = max(compute_us, memory_us, LAUNCH_US)
        limit = {LAUNCH_US: "overhead", compute_us: "compute", memory_us: "memory"}[longest]
        return Modelled(max(compute_us, memory_us) + LAUNCH_US, limit)

    def _peak(self, product_of: str) -> float:
        """Operations per second; where no peak is published, float32's."""
        found = self.gpu.peak(NAMES.get(product_of, "")) if product_of else None
        return (found or self.vector).value
