"""What there is to know about a GPU: figures, each with the source that says so.

A figure that nobody published is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kernelite.kernels.devices import Ceiling


@dataclass(frozen=True, slots=True)
class Figure:
    """One number about a GPU.

    Attributes:
        value: In ``unit``.
        unit: Without a prefix: ``bytes``, ``bytes/s``, ``flops/s``, ``ops/s``, ``Hz``, or
            what is counted.
        source: Who says so, with the address.
        note: How the value follows from what the source prints, if it does not print it.
        kind: ``published``, ``probed`` (the driver says so) or ``measured``.
    """

    value: float
    unit: str
    source: str
    note: str = ""
    kind: str = "published"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one multiprocessor holds, and in which portions it is handed out.

    In AMD's words: a compute unit, its wavefronts, workgroups, vector registers, LDS, SIMDs.

    Attributes:
        warp_size: Threads of a warp.
        threads_per_block: At most.
        threads_per_multiprocessor: Resident at once.
        warps_per_multiprocessor: Resident at once: occupancy 1.
        blocks_per_multiprocessor: Resident at once.
        partitions: Parts with registers and an issue slot of their own.
        registers_per_multiprocessor: Of 32 bits each, of all threads.
        registers_per_thread: At most.
        register_granule: A warp's registers are rounded up to a multiple of it.
        shared_per_multiprocessor: Bytes of all resident blocks.
        shared_per_block: Bytes without asking for more.
        shared_per_block_optin: Bytes at most.
        shared_reserved: Bytes of every block that the system takes for itself.
        shared_granule: A block's bytes are rounded up to a multiple of it.
    """

    warp_size: Figure | None = None
    threads_per_block: Figure | None = None
    threads_per_multiprocessor: Figure | None = None
    warps_per_multiprocessor: Figure | None = None
    blocks_per_multiprocessor: Figure | None = None
    partitions: Figure | None = None
    registers_per_multiprocessor: Figure | None = None
    registers_per_thread: Figure | None = None
    register_granule: Figure | None = None
    shared_per_multiprocessor: Figure | None = None
    shared_per_block: Figure | None = None
    shared_per_block_optin: Figure | None = None
    shared_reserved: Figure | None = None
    shared_granule: Figure | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as a program sees it: of the two dies of an MI250X, one.

    An architecture is a Gpu too, of which nothing but the limits is known.

    Attributes:
        name: Of the table, or as the driver shows it.
        arch: ``sm_90``, ``gfx942``.
        limits: Of one multiprocessor.
        aliases: Other names, as drivers report them.
        multiprocessors: Compute units at AMD.
        memory: Bytes.
        bandwidth: Bytes per second to memory.
        l2: Bytes of all dies together.
        infinity_cache: Bytes of the cache between L2 and memory, at AMD.
        clock: Highest, of the vector units and of fp64, in Hz.
        matrix_clock: Highest, of the matrix units for all types but fp64, in Hz.
        vector: Peak by type without matrix units; one multiply-add is two operations.
        matrix: Peak by type of the matrix units, without sparsity.  fp16 and fp8 accumulate
            in fp32; where fp16 accumulates faster, that is a type of its own: ``fp16_acc16``.
    """

    name: str
    arch: str
    limits: Limits = Limits()
    aliases: tuple[str, ...] = ()
    multiprocessors: Figure | None = None
    memory: Figure | None = None
    bandwidth: Figure | None = None
    l2: Figure | None = None
    infinity_cache: Figure | None = None
    clock: Figure | None = None
    matrix_clock: Figure | None = None
    vector: Mapping[str, Figure] = field(default_factory=dict)
    matrix: Mapping[str, Figure] = field(default_factory=dict)

    def peak(self, dtype: str) -> Figure | None:
        """The higher of the vector and the matrix peak of a type; None if neither is known."""
        found = [peaks[dtype] for peaks in (self.vector, self.matrix) if dtype in peaks]
        return max(found, key=lambda figure: figure.value, default=None)

    def overridden(
        self,
        bandwidth: Ceiling | None = None,
        vector: Mapping[str, Ceiling] | None = None,
        matrix: Mapping[str, Ceiling] | None = None,
    ) -> Gpu:
        """The same GPU with what was measured on it in place of what is published."""
        return replace(
            self,
            bandwidth=_figure(bandwidth) if bandwidth else self.bandwidth,
            vector={**self.vector, **{key: _figure(peak) for key, peak in (vector or {}).items()}},
            matrix={**self.matrix, **{key: _figure(peak) for key, peak in (matrix or {}).items()}},
        )


def _figure(ceiling: Ceiling) -> Figure:
    return Figure(ceiling.value, ceiling.unit, ceiling.source, kind=ceiling.kind)
