"""What an `optimize` run writes down of the whole model, with its winners put in.

Times are in microseconds; a ratio above 1 is faster than its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelite.results.records import Ratio


@dataclass(frozen=True, slots=True)
class Latencies:
    """Median time of one forward pass of the whole model, three ways."""

    eager: float | None = None
    compile: float | None = None
    patched: float | None = None


@dataclass(frozen=True, slots=True)
class Speedup:
    """A ratio against each of the two baselines; None if not measured."""

    vs_eager: Ratio | None = None
    vs_compile: Ratio | None = None


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
