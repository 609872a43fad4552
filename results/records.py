"""What an `optimize` run writes down: one frozen record per kind of event.

Inside the package these are plain dataclasses; `results.events` is the one door
where pydantic checks what enters or leaves the log.  Everything but a record's identity has
a default, so a reader of tomorrow still reads the runs of today, and unknown
fields are ignored.  A missing number is None, which means *unknown*, never 0.

Times are in microseconds; a ratio above 1 is faster than its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster than a baseline: median and 95 % interval."""

    median: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage of the harness found: ``passed``, ``failed``, ``skipped`` or ``unknown``."""

    name: str
    status: str
    evidence: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TimingResult:
    """A kernel's speed-up against ``baseline``, the best there is; see `harness.verdict.Timing`.

    Attributes:
        kind: ``measured``, ``modelled`` or ``emulated``; regime: the state of the caches.
        eager, compile: The ratios against these alone; None if unknown.
    """

    kind: str = "measured"
    baseline: str | None = None
    device: str | None = None
    regime: str | None = None
    median: float | None = None
    lower: float | None = None
    upper: float | None = None
    kernel_us: float | None = None
    baseline_us: float | None = None
    eager: Ratio | None = None
    compile: Ratio | None = None
    gpu: Mapping[str, Any] | None = None
    graph: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge decided, and the isolation that was really active, by level and layer."""

    verdict: str
    stage: str | None = None
    reason: str | None = None
    log: str | None = None
    isolation: int | None = None
    layers: tuple[str, ...] = ()
    seed: int | None = None
    threads: int | None = None
    kind: str = "measured"
    accuracy_ratio: float | None = None
    stages: tuple[StageResult, ...] = ()
    timing: TimingResult | None = None

    @property
    def passed(self) -> bool:
        """Whether the kernel is right; says nothing about its speed."""
        return self.verdict == "passed"


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run's name, and all that its numbers depend on.

    Attributes:
        device: What it knows of itself; the report draws ceilings (``fma``, ``copy``) in it.
    """

    run: str
    target: str = ""
    device: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One module of the profiled model; ``share`` is of the whole forward pass, 0 to 1.

    ``flops`` and ``bytes`` belong to ``self_us``: all calls, without children.
    ``bound`` and ``attainable`` are modelled.
    """

    path: str
    kind: str = ""
    calls: int | None = None
    self_us: float | None = None
    total_us: float | None = None
    share: float | None = None
    flops: float | None = None
    bytes: float | None = None
    bound: str | None = None
    attainable: float | None = None


@dataclass(frozen=True, slots=True)
class Profiled:
    """Where an eager forward pass spends its time; ``kind``: ``measured`` or ``modelled``."""

    latency_us: float | None = None
    rows: tuple[ProfileRow, ...] = ()
    kind: str = "measured"


@dataclass(frozen=True, slots=True)
class RankedSite:
    """A place in the model, with what could be won there.

    Attributes:
        calls: In one forward pass.
        share: Of the whole model's eager time, all calls, 0 to 1; of the ranking's kind.
        measured_us: One call in eager mode, if that was measured; modelled_us if it was modelled.
        roofline_us: One call at the device's ceilings; modelled.
        limit: What decides that: ``compute``, ``memory`` or ``overhead``.
        flops: Of one call, as ``bytes``; counted from shapes.
        attainable: Speed-up of the site that the roofline allows; modelled.
        gain: Expected part of the whole model's time that is won, 0 to 1; modelled.
        verdict: The same for a reader.
    """

    site: str
    problem: str | None = None
    path: str = ""
    label: str = ""
    calls: int | None = None
    share: float | None = None
    measured_us: float | None = None
    modelled_us: float | None = None
    roofline_us: float | None = None
    limit: str | None = None
    flops: float | None = None
    bytes: float | None = None
    attainable: float | None = None
    gain: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The sites, best first, and the whole-model speed-up if each reached its roofline.

    ``kind`` is that of the shares: ``measured``, or ``modelled`` for a GPU that was not there.
    """

    sites: tuple[RankedSite, ...] = ()
    model_attainable: float | None = None
    kind: str = "measured"


@dataclass(frozen=True, slots=True)
class Captured:
    """A site's stand-alone problem file; ``reproduced``: bit for bit."""

    site: str
    problem: str
    file: str = ""
    source: str = ""
    reproduced: bool | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kernel with the proposer that made it and the candidate it came from, if any."""

    id: str
    problem: str
    site: str = ""
    backend: str = ""
    proposer: str = ""
    label: str = ""
    choices: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The judge's verdict on a candidate for one problem.

    Attributes:
        stand_in: Source of what was emulated for it: the same plan for a small version of the
            problem (`problems.shrink`); None if it was judged itself.
    """

    candidate: str
    problem: str
    verdict: Verdict
    stand_in: str | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """A search over a plan's parameters; ``best`` is a candidate's id."""

    site: str
    problem: str | None = None
    trials: int | None = None
    best: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Winner:
    """The candidate that goes into the model at a site."""

    site: str
    candidate: str
    problem: str | None = None
    proposer: str = ""
    backend: str = ""
    vs_eager: Ratio | None = None
    vs_compile: Ratio | None = None


@dataclass(frozen=True, slots=True)
class KeptLibrary:
    """A site where the library is the fastest; nothing is patched."""

    site: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NoWinner:
    """A site where nothing right and faster was found."""

    site: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Patched:
    """The sites whose forward was swapped."""

    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fallback:
    """Something could not be done the intended way, and what was done instead."""

    reason: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run came to its end, whatever the outcome."""

    seconds: float | None = None
