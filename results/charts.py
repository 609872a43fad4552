"""The report's pictures of time: whole-model latency, expected and measured gains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from markupsafe import Markup

from kernelite.results import svg, wording
from kernelite.results.fold import Run, SiteResult
from kernelite.results.records import Ratio, TimingResult

WIDTH = 912
LABELS = 190
#: Sites whose modelled gain is below this would be invisible slivers.
SMALLEST_GAIN = 0.002
MOST_STEPS = 14
FIGURE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(x| us)(?=\W|$)")
SIGNS = {"x": "\N{MULTIPLICATION SIGN}", " us": " \N{MICRO SIGN}s"}


def latency(run: Run) -> Markup | None:
    """Bars of the whole model's latency three ways; None if nothing was measured."""
    if run.verified is None:
        return None
    times, speedup = run.verified.latency_us, run.verified.speedup
    rows: list[tuple[str, str, float | None, Ratio | None]] = [
        ("eager", "eager", times.eager, speedup.vs_eager),
        ("torch.compile", "compile", times.compile, speedup.vs_compile),
        ("patched", "patched", times.patched, None),
    ]
    known = [value for _, _, value, _ in rows if value]
    if not known:
        return None
    ends = [end for pair in run.verified.interval_us.values() for end in pair]
    root = svg.canvas(WIDTH, 40 * len(rows) + 8, "Latency of the whole model")
    x = svg.linear((0, max(known + ends)), (120, WIDTH - 340))
    for row, (name, kind, value, ratio) in enumerate(rows):
        y = 40.0 * row + 6
        svg.words(root, 108, y + 19, name, "end strong" if kind == "patched" else "end")
        if value is None:
            svg.words(root, 120, y + 19, wording.UNKNOWN, "muted")
            continue
        svg.rect(root, 120, y, x(value) - 120, 28, f"bar {kind}")
        low, high = run.verified.interval_us.get(kind, (value, value))
        if low < high:
            svg.whisker(root, x(low), x(high), y + 14)
        right = max(x(value), x(high)) + 12
        svg.words(root, right, y + 19, nice(wording.time(value)), "strong")
        if ratio is not None:
            text = f"patched is {wording.ratio(ratio)} faster"
            svg.words(root, right + 74, y + 19, nice(text), "muted")
    return svg.markup(root)


@dataclass(frozen=True, slots=True)
class Step:
    """One site's part of the waterfall, in microseconds of one forward pass."""

    label: str
    expected_us: float
    measured_us: float
    note: str


def gains(run: Run) -> Markup | None:
    """Expected (modelled) against measured time saved, site by site; None if unknown."""
    eager_us = _eager_us(run)
    found = [s for s in run.sites if (s.site.gain or 0) >= SMALLEST_GAIN]
    if not eager_us or not found:
        return None
    steps = [_step(site, eager_us) for site in found[:MOST_STEPS]]
    patched_us = run.verified.latency_us.patched if run.verified else None
    promised = wording.attainable(run)
    lines = [("eager", eager_us, "eager"), ("patched", patched_us, "patched"),
             ("attainable", promised and eager_us / promised, "modelled")]  # fmt: skip
    marks = [(name, value, kind) for name, value, kind in lines if value]
    lowest = min([value for _, value, _ in marks] + [_lowest(steps, eager_us)])
    pad = 0.06 * (eager_us - lowest) or 0.05 * eager_us
    height = 34 * len(steps) + 86
    root = svg.canvas(WIDTH, height, "Time saved by site, expected and measured")
    x = svg.linear((lowest - pad, eager_us + pad / 2), (LABELS, WIDTH - 150))
    _time_axis(root, x, (lowest - pad, eager_us + pad / 2), height)
    for name, value, kind in marks:
        svg.line(root, (x(value), 30), (x(value), height - 42), f"mark {kind}")
        svg.words(root, x(value), 22 if kind != "modelled" else 10, name, f"middle small {kind}")
    before = eager_us
    for row, step in enumerate(steps):
        _draw_step(root, x, before, step, 36.0 + 34 * row)
        before -= step.measured_us
    return svg.markup(root)


def _draw_step(root: Element, x: svg.Scale, before: float, step: Step, y: float) -> None:
    svg.words(root, LABELS - 12, y + 16, _short(step.label), "end")
    svg.rect(root, x(before - step.expected_us), y, x(before) - x(before - step.expected_us), 22,
             "expected")  # fmt: skip
    low, high = sorted((x(before), x(before - step.measured_us)))
    svg.rect(root, low, y + 4, high - low, 14, "saved" if step.measured_us >= 0 else "lost")
    svg.line(root, (x(before), y), (x(before), y + 22), "step")
    svg.words(root, WIDTH - 138, y + 16, nice(step.note), "small")


def _time_axis(root: Element, x: svg.Scale, domain: tuple[float, float], height: float) -> None:
    for value in svg.steps(*domain):
        svg.line(root, (x(value), 30), (x(value), height - 42), "grid")
        svg.words(root, x(value), height - 26, nice(wording.time(value)), "middle small muted")
    svg.words(root, LABELS, height - 6, "one forward pass; the axis does not begin at 0",
              "small muted")  # fmt: skip


def _step(result: SiteResult, eager_us: float) -> Step:
    site = result.site
    ratio = result.winner.vs_eager if result.winner else None
    saved = 0.0
    if ratio and ratio.median and site.share:
        saved = eager_us * site.share * (1 - 1 / ratio.median)
    expected = eager_us * (site.gain or 0)
    note = f"{_signed(saved)} of {_signed(expected)}" if result.winner else "unchanged"
    return Step(site.label or site.site, expected, saved, "dropped" if result.dropped else note)


def _signed(saved_us: float) -> str:
    return ("\N{MINUS SIGN}" if saved_us >= 0 else "+") + wording.time(abs(saved_us))


def _lowest(steps: list[Step], eager_us: float) -> float:
    """The leftmost end of any bar."""
    before, ends = eager_us, [eager_us]
    for step in steps:
        ends += [before - step.expected_us, before - step.measured_us]
        before -= step.measured_us
    return min(ends)


def interval(timing: TimingResult, domain: tuple[float, float]) -> Markup | None:
    """A candidate's speed-up and interval beside 1.0, on its site's scale."""
    if timing.median is None or timing.median <= 0:
        return None
    root = Element("svg", {"viewBox": "0 0 120 16", "class": "mini", "aria-hidden": "true"})
    x = svg.logarithmic(domain, (4, 116))
    low = max(timing.lower or timing.median, domain[0])
    high = timing.upper or timing.median
    kind = "won" if low > 1 else "lost" if high < 1 else "even"
    svg.line(root, (x(1), 0), (x(1), 16), "one")
    svg.line(root, (x(low), 8), (x(high), 8), kind)
    svg.circle(root, x(timing.median), 8, 3.5, kind)
    return svg.markup(root)


def ratio_domain(result: SiteResult) -> tuple[float, float]:
    """The speed-ups that a site's intervals span, 1 within."""
    timings = [a.timing for a in result.attempts if a.timing and a.timing.median]
    ends = [end for t in timings for end in (t.lower, t.median, t.upper) if end and end > 0]
    return min([0.9, *ends]) / 1.02, max([1.1, *ends]) * 1.02


def nice(text: str) -> str:
    """Figures with the signs of print; ``us`` and ``x`` are for plain terminals."""
    return FIGURE.sub(lambda found: found[1] + SIGNS[found[2]], text)


def _eager_us(run: Run) -> float | None:
    verified = run.verified.latency_us.eager if run.verified else None
    measured = run.profile if run.profile and run.profile.kind == "measured" else None
    return verified or (measured.latency_us if measured else None)


def _short(label: str, limit: int = 26) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"
