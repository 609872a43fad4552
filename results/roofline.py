"""The report's roofline: what each site reaches of what the device allows.

After Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009.  Operations
and bytes are counted from shapes, times are measured, ceilings are calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan2, cos, degrees, sin
from typing import Any
from xml.etree.ElementTree import Element

from markupsafe import Markup

from kernelite.results import svg, wording
from kernelite.results.fold import Run, SiteResult

WIDTH, HEIGHT = 912, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 896, 16, 372
MOST_POINTS = 12


@dataclass(frozen=True, slots=True)
class Point:
    """One site: operations per byte, operations per second before and, if won, after.

    Attributes:
        reached: Part of the roofline that eager reaches, 0 to 1; None if unknown.
        reached_after: The same for the winner.
    """

    number: int
    label: str
    share: float
    intensity: float
    before: float
    after: float | None
    limit: str | None
    reached: float | None
    reached_after: float | None


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Calibrated peaks: operations per second, bytes per second from memory and from cache."""

    flops_s: float
    memory_bytes_s: float
    cache_bytes_s: float


def points(run: Run) -> list[Point]:
    """The sites that compute and whose time is known, by share; the largest ones only."""
    found = [p for site in run.sites if (p := _point(site)) is not None]
    found.sort(key=lambda p: -p.share)
    return [
        Point(number, p.label, p.share, p.intensity, p.before, p.after, p.limit,
              p.reached, p.reached_after)
        for number, p in enumerate(found[:MOST_POINTS], start=1)
    ]  # fmt: skip


def ceilings(device: Mapping[str, Any]) -> Ceilings | None:
    """The ceilings of a calibration, if the run noted them."""
    try:
        table = [float(row["ceiling"]["value"]) for row in device["copy"]]
        found = Ceilings(float(device["fma"]["value"]), table[-1], max(table))
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return found if min(found.flops_s, found.memory_bytes_s) > 0 else None


def plot(run: Run, shown: Sequence[Point]) -> Markup | None:
    """The plot of ``shown``; None if there is nothing to draw."""
    if not shown:
        return None
    roof = ceilings(run.started.device)
    xs = [p.intensity for p in shown]
    ys = [v for p in shown for v in (p.before, p.after) if v]
    if roof:
        xs.append(roof.flops_s / roof.memory_bytes_s)
        ys.append(roof.flops_s)
    wide, tall = (min(xs) / 3, max(xs) * 4), (min(ys) / 3, max(ys) * 2)
    root = svg.canvas(WIDTH, HEIGHT, "Roofline of the sites")
    x = svg.logarithmic(wide, (LEFT, RIGHT))
    y = svg.logarithmic(tall, (BOTTOM, TOP))
    _axes(root, x, y, wide, tall)
    if roof:
        _roofs(root, x, y, roof, wide, tall)
    for point in reversed(shown):
        _draw(root, x(point.intensity), y, point)
    return svg.markup(root)


def _axes(
    root: Element, x: svg.Scale, y: svg.Scale,
    wide: tuple[float, float], tall: tuple[float, float],
) -> None:  # fmt: skip
    for value in svg.decades(*wide):
        svg.line(root, (x(value), TOP), (x(value), BOTTOM), "grid")
        svg.words(root, x(value), BOTTOM + 18, f"{value:g}", "middle small muted")
    for value in svg.decades(*tall):
        svg.line(root, (LEFT, y(value)), (RIGHT, y(value)), "grid")
        svg.words(root, LEFT - 8, y(value) + 4, f"{value / 1e9:g}", "end small muted")
    svg.words(root, RIGHT, BOTTOM + 38, "operations per byte moved", "end small muted")
    svg.words(root, LEFT, BOTTOM + 38, "vertical: Gflop/s, one call", "small muted")


def _roofs(
    root: Element, x: svg.Scale, y: svg.Scale, roof: Ceilings,
    wide: tuple[float, float], tall: tuple[float, float],
) -> None:  # fmt: skip
    """The slopes of cache and memory, and the flat peak; clipped to the frame."""
    for speed, kind, name in ((roof.cache_bytes_s, "roof faint", "cache"),
                              (roof.memory_bytes_s, "roof", "memory")):  # fmt: skip
        start, ridge = max(wide[0], tall[0] / speed), roof.flops_s / speed
        if start < ridge:
            svg.line(root, (x(start), y(start * speed)), (x(ridge), y(roof.flops_s)), kind)
            text = f"{name} {speed / 1e9:.0f} GB/s"
            end = (x(ridge), y(roof.flops_s))
            angle = atan2(end[1] - y(start * speed), end[0] - x(start))
            spot = (end[0] - 24 * cos(angle), end[1] - 24 * sin(angle) + 16)
            turned = svg.words(root, *spot, text, "end small muted")
            turned.set("transform", f"rotate({degrees(angle):.1f} {spot[0]:.1f} {spot[1]:.1f})")
    flat = roof.flops_s / roof.cache_bytes_s
    svg.line(root, (x(max(flat, wide[0])), y(roof.flops_s)), (RIGHT, y(roof.flops_s)), "roof")
    peak = f"multiply-add peak {roof.flops_s / 1e9:.0f} Gflop/s"
    svg.words(root, RIGHT, y(roof.flops_s) - 6, peak, "end small muted")


def _draw(root: Element, x: float, y: svg.Scale, point: Point) -> None:
    radius = 8 + 10 * min(point.share, 0.5)
    if point.after is not None:
        svg.line(root, (x, y(point.before)), (x, y(point.after)), "moved")
        svg.circle(root, x, y(point.before), radius * 0.6, "dot before")
    shown = point.before if point.after is None else point.after
    svg.circle(root, x, y(shown), radius, "dot " + ("after" if point.after else "before"))
    kind = "middle tiny" + (" inverse" if point.after else "")
    svg.words(root, x, y(shown) + 4, str(point.number), kind)


def _point(result: SiteResult) -> Point | None:
    site = result.site
    if not site.flops or not site.bytes or not site.measured_us:
        return None
    ratio = result.winner.vs_eager if result.winner else None
    faster = ratio.median if ratio and ratio.median else None
    before = 1e6 * site.flops / site.measured_us
    reached = site.roofline_us / site.measured_us if site.roofline_us else None
    return Point(
        0, site.label or site.site, site.share or 0.0, site.flops / site.bytes, before,
        before * faster if faster else None, site.limit, reached,
        reached * faster if reached and faster else None,
    )  # fmt: skip


def describe(value: float | None) -> str:
    """A part of the roofline in per cent; more than all of it is named as such."""
    return wording.UNKNOWN if value is None else f"{100 * value:.0f} %"
