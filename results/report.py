"""One offline HTML file about a run: no script, no network, under 300 KB.

Everything that candidates, models or users wrote is untrusted: the template
escapes it, the charts escape it, and a content policy forbids what is left.
The same log gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from kernelite.errors import MachineError, UsageError
from kernelite.results import charts, roofline, unmeasured, wording
from kernelite.results.events import Event
from kernelite.results.fold import Attempt, Run, SiteResult, fold
from kernelite.results.highlight import highlight
from kernelite.results.log import LOG_NAME, EventLog
from kernelite.results.records import ProfileRow, Ratio, TimingResult

REPORT_NAME = "report.html"
PAGES = Path(__file__).resolve().parent / "pages"
MOST_BYTES = 300_000
#: Bytes of escaped text that the page may take, all together; and each code, log and label.
ALL_TEXT, ONE_CODE, ONE_LOG, ONE_LABEL = 110_000, 20_000, 1_200, 160
MOST_ROWS, MOST_ROWS_PER_SITE, MOST_SITES, MOST_MODULES = 90, 16, 40, 20


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    A run that is unfinished, or whose log is damaged, gives a report that says so.

    Raises:
        UsageError: there is no run in the folder.
        MachineError: the disk is full, or a newer Kernelite wrote the log.
    """
    events, broken = _events(folder)
    text, path = render(fold(events), broken), folder / REPORT_NAME
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def render(run: Run, broken: str | None = None) -> str:
    """The page; ``broken`` is what is wrong with the log, None if nothing is."""
    for part in (1, 3, 9, 27):
        text = _render(run, broken, ALL_TEXT // part, MOST_ROWS // part)
        if len(text.encode()) < MOST_BYTES:
            break
    return text


def _render(run: Run, broken: str | None, most_text: int, most_rows: int) -> str:
    ink = Ink(most_text)
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(_filters(ink))
    points = roofline.points(run)
    return environment.get_template("report.html.j2").render(
        run=run, broken=broken, wording=wording, best=wording.best_baseline(run),
        outcome=wording.outcome(run), reached=wording.reached(run),
        latency=charts.latency(run), gains=charts.gains(run),
        points=points, roofline=roofline.plot(run, points),
        ceilings=roofline.ceilings(run.started.device), sites=_sites(run, most_rows),
        largest=max((s.site.share or 0 for s in run.sites), default=0), facts=_facts(run),
        rows=_longest(run), winners=[s for s in run.sites if s.winning_attempt or s.shortlist],
        hidden_sites=run.sites[MOST_SITES:],
    )  # fmt: skip


@dataclass(slots=True)
class Ink:
    """Text that the page can still take; what does not fit is cut and says so."""

    left: int

    def clip(self, text: str, limit: int) -> str:
        """As much of ``text`` as both limits allow once escaped; at least its length."""
        clean = wording.visible(text)
        room = max(min(limit, self.left), 0)
        kept = clean[:room]
        while kept and len(escape(kept).encode()) > room:
            kept = kept[: len(kept) * 3 // 4]
        self.left -= len(escape(kept).encode())
        cut = len(clean) - len(kept)
        if not cut or not kept:
            return kept + ("…" if cut else "")
        return f"{kept} … {cut} more characters"


@dataclass(frozen=True, slots=True)
class SiteRows:
    """The candidates of a site that the page shows, and how many more there are."""

    result: SiteResult
    rows: tuple[Attempt, ...]
    hidden: int
    domain: tuple[float, float]


def _events(folder: Path) -> tuple[list[Event], str | None]:
    """Every event that can be read, and what stopped the reading, if anything did."""
    found: list[Event] = []
    try:
        with EventLog(folder, writable=False) as log:
            for event in log.events():
                found.append(event)
    except UsageError as error:
        if not (folder / LOG_NAME).is_file():
            raise
        return found, str(error)
    return found, None


def _sites(run: Run, left: int) -> list[SiteRows]:
    """Searched sites with their most telling candidates, in the order of their making."""
    shown = []
    for result in [s for s in run.sites if s.attempts or s.decision][:MOST_SITES]:
        kept = _telling(result, min(left, MOST_ROWS_PER_SITE))
        left -= len(kept)
        rows = tuple(a for a in result.attempts if id(a) in kept)
        hidden = len(result.attempts) - len(rows)
        shown.append(SiteRows(result, rows, hidden, charts.ratio_domain(result)))
    return shown


def _telling(result: SiteResult, room: int) -> set[int]:
    """Identities of at most ``room`` attempts: the winner, half of them the fastest, failures."""
    failed = [a for a in result.attempts if a.timing is None]
    timed = sorted((a for a in result.attempts if a.timing), key=lambda a: -a.speed)
    first = [result.winning_attempt] if result.winning_attempt else []
    fast = max(room // 2, room - len(failed))
    order = [*first, *timed[:fast], *failed, *timed[fast:]]
    unique = list(dict.fromkeys(id(attempt) for attempt in order))
    return set(unique[:room])


def _longest(run: Run) -> list[ProfileRow]:
    """The modules that take the most time themselves."""
    rows = run.profile.rows if run.profile else ()
    return sorted(rows, key=lambda row: -(row.self_us or 0))[:MOST_MODULES]


def _facts(run: Run) -> list[tuple[str, str]]:
    """How it was measured, as names and values; a device's tables of ceilings left out."""
    started, verdicts = run.started, [v for a in run.attempts for v in a.verdicts]
    device = {k: v for k, v in started.device.items() if isinstance(v, str | int | float)}
    isolation = sorted({v.isolation for v in verdicts if v.isolation is not None})
    layers = sorted({layer for v in verdicts for layer in v.layers})
    levels = ", ".join(map(str, isolation)) or wording.UNKNOWN
    timings = [a.timing for a in run.attempts if a.timing]
    return [
        ("run", started.run or wording.UNKNOWN),
        ("target", started.target or wording.UNKNOWN),
        ("device", _pairs(device) or wording.UNKNOWN),
        ("versions", _pairs(started.versions) or wording.UNKNOWN),
        ("options", _pairs(started.options) or wording.UNKNOWN),
        ("seeds of the judge", _listed(v.seed for v in verdicts)),
        ("threads while timing", _listed(v.threads for v in verdicts)),
        ("caches while timing", _listed(t.regime for t in timings)),
        (
            "isolation that was active",
            f"level {levels}" + (f": {_listed(layers)}" if layers else ""),
        ),
        ("last event", f"{run.last or 'none'}, {wording.moment(run.last_ts)}"),
        ("seconds", _listed([run.finished.seconds if run.finished else None])),
    ]


def _pairs(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _listed(values: Iterable[Any]) -> str:
    known = list(dict.fromkeys(str(v) for v in values if v is not None))
    more = f" and {len(known) - 4} more" if len(known) > 4 else ""
    return (", ".join(known[:4]) or wording.UNKNOWN) + more


def _filters(ink: Ink) -> dict[str, Callable[..., Any]]:
    return {
        "label": lambda text: ink.clip(str(text), ONE_LABEL),
        "log": lambda text: ink.clip(str(text), ONE_LOG),
        "code": lambda text, backend: highlight(ink.clip(text, ONE_CODE), backend),
        "time": lambda us: charts.nice(wording.time(us)),
        "factor": lambda value: charts.nice(wording.factor(value)),
        "ratio": lambda value: charts.nice(wording.ratio(value)),
        "figures": charts.nice,
        "baseline": lambda name: (
            "torch.compile" if name == "compile" else ink.clip(name, ONE_LABEL)
        ),
        "share": wording.share,
        "percent": roofline.describe,
        "interval": _interval,
        "timing": _timing,
        "evidence": unmeasured.told,
        "mood": _mood,
        "failures": _failures,
        "bar": _bar,
    }


def _interval(timing: TimingResult, domain: Sequence[float]) -> Markup:
    return charts.interval(timing, (domain[0], domain[1])) or Markup("")


def _timing(timing: TimingResult) -> str:
    return charts.nice(wording.ratio(Ratio(timing.median, timing.lower, timing.upper)))


def _mood(value: Ratio | TimingResult | None) -> str:
    """Whether a ratio is surely a gain, surely a loss, or neither."""
    if value is None or value.lower is None or value.upper is None:
        return "even"
    return "won" if value.lower > 1 else "lost" if value.upper < 1 else "even"


def _failures(result: SiteResult) -> str:
    return ", ".join(f"{n} at {stage}" for stage, n in result.failures.most_common(4))


def _bar(value: float | None, largest: float, kind: str) -> Markup:
    """A bar as wide as its cell for ``largest``."""
    if value is None or not largest:
        return Markup("")
    width = 100 * min(max(value / largest, 0.0), 1.0)
    return Markup('<span class="track"><span class="fill {}" style="width:{:.1f}%"></span></span>'
                  ).format(kind, width)  # fmt: skip
