"""The little SVG that the charts need; colours come from the page's style sheet.

Built as an element tree, so whatever text gets in is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from kernelite.results.wording import visible

Scale = Callable[[float], float]


def canvas(width: int, height: int, title: str) -> Element:
    """An empty picture with a name for those who cannot see it."""
    root = Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "class": "chart"})
    root.set("style", f"min-width:{round(width * 0.8)}px;max-width:{width}px")
    SubElement(root, "title").text = visible(title)
    return root


def rect(at: Element, x: float, y: float, width: float, height: float, kind: str) -> Element:
    """A bar; a negative width becomes nothing."""
    size = {"width": _number(max(width, 0)), "height": _number(height)}
    return SubElement(
        at, "rect", {"x": _number(x), "y": _number(y), **size, "rx": "2", "class": kind}
    )


def line(at: Element, start: tuple[float, float], end: tuple[float, float], kind: str) -> Element:
    """A straight line."""
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return SubElement(at, "line", {k: _number(v) for k, v in ends.items()} | {"class": kind})


def circle(at: Element, x: float, y: float, radius: float, kind: str) -> Element:
    """A dot."""
    size = {"cx": _number(x), "cy": _number(y), "r": _number(radius)}
    return SubElement(at, "circle", {**size, "class": kind})


def words(at: Element, x: float, y: float, text: str, kind: str = "") -> Element:
    """A line of text; ``end`` and ``middle`` in ``kind`` move its anchor."""
    element = SubElement(at, "text", {"x": _number(x), "y": _number(y), "class": kind})
    element.text = visible(text)
    return element


def whisker(at: Element, low: float, high: float, y: float, kind: str = "whisker") -> None:
    """A horizontal interval with ends."""
    line(at, (low, y), (high, y), kind)
    for x in (low, high):
        line(at, (x, y - 4), (x, y + 4), kind)


def markup(root: Element) -> Markup:
    """The picture as text that a template may insert as it is."""
    return Markup(tostring(root, encoding="unicode"))


def linear(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    """A scale from numbers to pixels; a domain without width maps to the first pixel."""
    span = (domain[1] - domain[0]) or 1.0
    return lambda value: pixels[0] + (value - domain[0]) / span * (pixels[1] - pixels[0])


def logarithmic(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    """The same for positive numbers on a logarithmic axis."""
    inner = linear((log10(domain[0]), log10(domain[1])), pixels)
    return lambda value: inner(log10(value))


def steps(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within an interval, ``about`` so many of them."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first = -floor(-low / step)
    return [step * n for n in range(first, floor(high / step) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten within an interval; with 2 and 5 between them where there are few."""
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    factors = (1,) if len(powers) > 3 else (1, 2, 5)
    return [m * 10.0**p for p in powers for m in factors if low <= m * 10.0**p <= high]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
