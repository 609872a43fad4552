"""What an `optimize` run writes down of the whole model, with its winners put in.

Times are in microseconds; a ratio above 1 is faster than its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelite.results.records import Ratio


@dataclass(frozen=True, slots=True)
class Latencies:
    """Median time of one forward pass of the whole model, in several ways.

    ``max_autotune`` is torch.compile's mode; it and the ``graph``s, replayed, are of a GPU.
    """

    eager: float | None = None
    compile: float | None = None
    patched: float | None = None
    max_autotune: float | None = None
    eager_graph: float | None = None
    patched_graph: float | None = None


@dataclass(frozen=True, slots=True)
class Speedup:
    """A ratio against each baseline; None if not measured.

    The patched model is replayed as a CUDA graph against those that are.
    """

    vs_eager: Ratio | None = None
    vs_compile: Ratio | None = None
    vs_max_autotune: Ratio | None = None
    vs_eager_graph: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """The whole model, patched: is it right, and how fast.

    Attributes:
        interval_us: 95 % intervals of ``latency_us``, lower and upper by the same names.
        attainable: Whole-model speed-up that the ranking promised; modelled.
        max_error_ratio: Error against float64 over the eager model's own error.
        dropped: Site and reason, of each site that hurt.
    """

    latency_us: Latencies = field(default_factory=Latencies)
    speedup: Speedup = field(default_factory=Speedup)
    interval_us: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    attainable: float | None = None
    verified: bool | None = None
    max_error_ratio: float | None = None
    dropped: tuple[tuple[str, str], ...] = ()
    note: str | None = None
