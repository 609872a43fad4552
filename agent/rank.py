"""Which places of a model are worth a kernel: by what the whole model would gain.

    gain = share x (1 - 1 / attainable)

Pure arithmetic over records; nothing is measured here and torch is not needed.
The promise is meant to be kept: at least 70 % of it must show up when the
patched model is measured, so every constant errs to the low side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from kernelite.kernels.devices import Modelled, Roofline, at_size

#: Part of the copy bandwidth that fused kernels with reductions in them reach.
MEMORY_EFFICIENCY = 0.70
#: Part of the multiply-add peak that fused attention reaches; PyTorch's own gets to 0.54.
COMPUTE_EFFICIENCY = 0.50
#: A library call from this part of its ceiling on leaves nothing to win.
LIBRARY_GOOD = 0.85
#: Part of the best library rate that another library call reaches at a smaller size.
LIBRARY_EFFICIENCY = 0.95
#: More than this no choice among libraries has won; a slower call is bound by something else.
LIBRARY_CAP = 1.15
#: Below this share of the model's time no answer can be told from noise.
NEGLIGIBLE_GAIN = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A region of the model that takes time.

    Attributes:
        site: Where it is: a module's path, or a region of the graph.
        problem: Name or id of the problem that captures it.
        path: Innermost module path that contains it.
        label: What it computes, in the field's words.
        calls: Times that the model runs it; its other figures are for one call.
        measured_us: One call in eager mode, measured.
        share: Of the whole model's time, all calls together, 0 to 1.
        flops: From `problems.cost`.
        bytes: That a fused kernel moves, from `problems.cost`.
        kind: ``library`` for one call of a product or convolution, ``fusible`` for the rest.
        library_us: The best known library at this very shape, measured
            (`devices.calibrate.gemm_us`). None if it was not measured.
    """

    site: str
    problem: str
    path: str
    label: str
    calls: int
    measured_us: float
    share: float
    flops: int
    bytes: int
    kind: str
    library_us: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked(Bottleneck):
    """A bottleneck with what can be expected of it.

    Attributes:
        roofline_us: Modelled time of one call at the device's ceilings.
        limit: What decides that: ``compute``, ``memory`` or ``overhead``.
        attainable: Expected speed-up of the region, at least 1.
        gain: Share of the model's time that it would save, 0 to 1.
        verdict: The same for a reader, in one line.
    """

    roofline_us: float
    limit: str
    attainable: float
    gain: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Sites by expected gain, largest first, and the whole model's expected speed-up."""

    sites: tuple[Ranked, ...]
    model_attainable: float


def rank(bottlenecks: Iterable[Bottleneck], roofline: Roofline) -> Ranking:
    """Sort ``bottlenecks`` by expected whole-model gain on the calibrated device."""
    ranked = [_ranked(bottleneck, roofline) for bottleneck in bottlenecks]
    ranked.sort(key=lambda site: (-site.gain, -site.share, site.site))
    saved = min(sum(site.gain for site in ranked), 0.99)
    return Ranking(tuple(ranked), 1 / (1 - saved))


def _ranked(site: Bottleneck, roofline: Roofline) -> Ranked:
    # Between two calls the rest of the model runs, so the innermost cache never holds the inputs.
    working_set_bytes = max(site.bytes, roofline.calibration.device.private_bytes)
    modelled = roofline.time_us(site.flops, site.bytes, working_set_bytes)
    if site.kind == "library":
        attainable, verdict = _library(site, roofline)
    else:
        attainable, verdict = _fusible(site, roofline, modelled, working_set_bytes)
    gain = site.share * (1 - 1 / attainable)
    if attainable > 1 and gain < NEGLIGIBLE_GAIN:
        verdict = f"too small to matter: {site.share:.2%} of the model's time"
    return Ranked(
        **asdict(site), roofline_us=modelled.us, limit=modelled.limit,
        attainable=attainable, gain=gain, verdict=verdict,
    )  # fmt: skip


def _fusible(
    site: Bottleneck, roofline: Roofline, modelled: Modelled, working_set_bytes: float
) -> tuple[float, str]:
    """Attainable speed-up of one fused kernel that moves each byte once, and why."""
    figures = roofline.calibration
    memory_us = 1e6 * site.bytes / at_size(figures.copy, working_set_bytes) / MEMORY_EFFICIENCY
    compute_us = 1e6 * site.flops / figures.fma.value / COMPUTE_EFFICIENCY
    reachable_us = max(memory_us, compute_us) + figures.overhead.value
    attainable = max(1.0, site.measured_us / reachable_us)
    if attainable == 1:
        return 1.0, f"nothing to win: already at what its {modelled.limit} limit allows"
    return attainable, f"{attainable:.1f}x attainable by one fused kernel, {modelled.limit} bound"


def _library(site: Bottleneck, roofline: Roofline) -> tuple[float, str]:
    """Attainable speed-up by another library, and why; we write no better product."""
    figures = roofline.calibration
    if site.library_us is not None:
        reached = site.library_us / site.measured_us
        best = "of the best measured library at this shape"
        reachable_us = site.library_us
    else:
        compute_us = 1e6 * site.flops / figures.gemm.value
        memory_us = 1e6 * site.bytes / at_size(figures.read, site.bytes)
        reached = max(compute_us, memory_us) / site.measured_us
        best = "of the best measured library rate" if compute_us > memory_us else "of the bandwidth"
        reachable_us = max(compute_us, memory_us) / LIBRARY_EFFICIENCY
    if reached >= LIBRARY_GOOD:
        return 1.0, f"nothing to win: library GEMM at {min(reached, 1):.0%} {best}"
    attainable = min(LIBRARY_CAP, max(1.0, site.measured_us / reachable_us))
    return attainable, f"{attainable:.2f}x attainable: library GEMM at {reached:.0%} {best}"
