"""How much of a multiprocessor a kernel fills; modelled, not measured."""

from __future__ import annotations

from math import ceil

from kernelite.kernels.targets import Target
from kernelite.kernels.targets.records import Occupancy

CUDA = "CUDA C++ Programming Guide and occupancy calculator: 256 registers at a time per warp, four"
CUDA += " warps at a time, 1 KiB of shared memory per block for the system; PTX ISA: 512 columns of"
CUDA += " tensor memory"
CDNA = "LLVM's AMDGPUBaseInfo.cpp: 8 registers at a time per lane, at most 8 waves per SIMD"
SYSTEM_SHARED_BYTES = 1 << 10
SIMDS = 4
TENSOR_COLUMNS = 512


def occupancy(
    target: Target, registers: int, shared_bytes: int, warps: int, tensor_columns: int = 0
) -> Occupancy:
    """Of blocks of so many ``warps``, with so many registers per thread; 0 if not one fits."""
    if target.amd:
        per_wave = ceil(max(registers, 1) / 8) * 8 * target.warp_size
        waves = SIMDS * (target.registers // SIMDS // per_wave)
        shared = shared_bytes
    else:
        per_warp = ceil(max(registers, 1) * target.warp_size / 256) * 256
        waves = target.registers // per_warp // 4 * 4
        shared = shared_bytes + SYSTEM_SHARED_BYTES
    fitting = {
        "registers": waves // warps,
        "shared memory": target.shared_bytes // shared if shared else target.blocks,
        "warps": target.warps // warps,
        "blocks": target.blocks,
    }
    if tensor_columns:
        fitting["tensor memory"] = TENSOR_COLUMNS // tensor_columns
    limit = min(fitting, key=lambda name: fitting[name])
    blocks = fitting[limit]
    source = CDNA if target.amd else CUDA
    return Occupancy(blocks, blocks * warps / target.warps, limit, source)
