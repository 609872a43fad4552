"""How many warps of a kernel fit on a multiprocessor at once, and what allows no more.

A model of the hardware's bookkeeping: not a measurement, and no measure of
speed.  It is that of NVIDIA's calculator, cuda_occupancy.h of CUDA 13.0, with
as much of the L1 given to shared memory as there is.  AMD's has the same form,
in the portions of the CDNA guides and of LLVM's AMDGPUBaseInfo.cpp; LLVM's own
line may be higher, because it does not ask that whole workgroups fit.

Not modelled: clusters, named barriers, and AMD's scalar registers, more than
96 of which leave seven waves on a SIMD instead of eight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from kernelite.kernels.devices.specification import Limits

#: Of a multiprocessor's tensor memory; PTX ISA, "Tensor Memory Addressing":
#: https://docs.nvidia.com/cuda/parallel-thread-execution/#tensor-memory-addressing
TENSOR_COLUMNS = 512


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What is resident on one multiprocessor when there is work enough.

    Attributes:
        blocks: 0 if not even one fits: such a kernel cannot be launched.
        warps: Of all resident blocks.
        warps_per_partition: Of the fullest one; AMD's waves per SIMD.
        fraction: Share of the warps that could be resident.
        limiters: Everything that allows no more blocks: ``registers``, ``shared memory``,
            ``tensor memory``, ``warps``, ``blocks``.
    """

    blocks: int
    warps: int
    warps_per_partition: int
    fraction: float
    limiters: tuple[str, ...]
    kind: str = "modelled"


def occupancy(
    limits: Limits, registers: int | None, shared_bytes: int | None, warps: int | None,
    tensor_columns: int = 0,
) -> Occupancy | None:  # fmt: skip
    """The occupancy of blocks of ``warps`` warps; None unless everything that it needs is known.

    Args:
        limits: Of the multiprocessor.
        registers: Of one thread; at AMD vector and accumulation registers together.  0 is what
            a compiler that failed reports, and counts as unknown.
        shared_bytes: Of one block, static and dynamic together.
        warps: Of one block.
        tensor_columns: Of the tensor memory of one block, as it allocates them.
    """
    counts = {limit.name: getattr(limits, limit.name) for limit in fields(limits)}
    if not registers or shared_bytes is None or not warps or None in counts.values():
        return None
    held = {name: int(figure.value) for name, figure in counts.items()}
    allowed = {
        "registers": _warps_by_registers(held, registers) // warps,
        "shared memory": _blocks_by_shared_memory(held, shared_bytes),
        "warps": _blocks_by_warps(held, warps),
        "blocks": held["blocks_per_multiprocessor"],
    }
    if tensor_columns:
        allowed["tensor memory"] = TENSOR_COLUMNS // tensor_columns
    blocks = min(allowed.values())
    limiters = tuple(name for name, most in allowed.items() if most == blocks)
    resident = blocks * warps
    fraction = resident / held["warps_per_multiprocessor"]
    return Occupancy(blocks, resident, -(-resident // held["partitions"]), fraction, limiters)


def _warps_by_registers(held: Mapping[str, int], registers: int) -> int:
    """Each partition hands out its own registers, to whole warps."""
    if registers > held["registers_per_thread"]:
        return 0
    taken = _round_up(registers * held["warp_size"], held["register_granule"])
    owned = held["registers_per_multiprocessor"] // held["partitions"]
    return owned // taken * held["partitions"]


def _blocks_by_shared_memory(held: Mapping[str, int], shared_bytes: int) -> int:
    if shared_bytes > held["shared_per_block_optin"]:
        return 0
    taken = _round_up(shared_bytes + held["shared_reserved"], held["shared_granule"])
    return held["shared_per_multiprocessor"] // max(taken, 1)


def _blocks_by_warps(held: Mapping[str, int], warps: int) -> int:
    if warps * held["warp_size"] > held["threads_per_block"]:
        return 0
    return held["warps_per_multiprocessor"] // warps


def _round_up(number: int, granule: int) -> int:
    return -(-number // granule) * granule
