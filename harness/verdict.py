"""What a judgement says.  Failing is a value, not an exception."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

Claim = Literal["faster", "slower", "no difference", "noisy"]
#: Effects below this share are never claimed.
SMALLEST_CLAIM = 0.01
#: Half width of the control's interval, as a share, beyond which nothing is claimed.
QUIET = 0.02
#: Share of its clock that a GPU must keep for a claim.
KEPT_CLOCK = 0.95


class Reason(StrEnum):
    """Why a kernel was turned down, in the order in which the harness looks."""

    DEGENERATE = "degenerate"
    FORBIDDEN = "forbidden"
    UNSUPPORTED = "not interpretable"
    BUILD = "build"
    RESOURCES = "resources"
    UNCOMPILED = "not compiled"
    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    SHAPE = "shape"
    DTYPE = "dtype"
    NUMERIC = "numeric"
    MUTATION = "mutation"
    STATE = "state"
    ALIAS = "alias"
    LEAK = "leak"
    POLICY = "policy"
    CLOCK = "clock"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Failed:
    """A wrong kernel: it has a reason and a log, and never a time."""

    stage: str
    reason: Reason
    log: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A stage that had nothing to ask."""

    why: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster than a baseline: median and 95 % interval; above 1 is faster.

    Attributes:
        candidate_us: Median time of one call of the candidate, in microseconds.
        baseline_us: The same of the baseline, in the same interleaved run.
        rounds: Number of paired samples.
        detectable: Smallest true effect, as a share, that these rounds would have shown.
    """

    baseline: str
    median: float
    lower: float
    upper: float
    candidate_us: float
    baseline_us: float
    rounds: int
    detectable: float = 0.0

    @property
    def threshold(self) -> float:
        """What the whole interval must lie beyond for a claim."""
        return 1 + max(SMALLEST_CLAIM, self.detectable)


@dataclass(frozen=True, slots=True)
class Control:
    """A process against itself in the same rounds: median and 95 % interval."""

    median: float
    lower: float
    upper: float

    @property
    def quiet(self) -> bool:
        """Whether it is equal to itself, and that is known well enough to claim anything."""
        width = (self.upper / self.lower) ** 0.5 - 1
        off = max(self.lower, 1 / self.upper) - 1
        return width <= QUIET and off <= SMALLEST_CLAIM


@dataclass(frozen=True, slots=True)
class GpuClocks:
    """A GPU when the rounds began, warmed up, and when they ended, as NVML told.

    Attributes:
        before_mhz: Clock of its multiprocessors.
        slowed: Why it was slower than it could be, at either moment.
    """

    before_mhz: int
    after_mhz: int
    before_w: float
    after_w: float
    slowed: tuple[str, ...]

    @property
    def steady(self) -> bool:
        """Whether it was as fast at the end as in the beginning, and nothing held it back."""
        return not self.slowed and self.after_mhz >= KEPT_CLOCK * self.before_mhz


@dataclass(frozen=True, slots=True)
class Timing:
    """Measured on this machine, against each baseline that was asked for.

    Attributes:
        control: None where no baseline was timed twice.
        load: Of the machine, as processes that want to run, when the rounds began.
        switches: Times that the candidate lost its core to others.
        gpu: None if it ran on none, or its clocks are unknown.
        watched: Whether the judge's clock could confirm the runner's.  On a busy machine it may
            not; then the candidate's times are the judge's own, which are longer.
        graph: The same of replays of CUDA graphs, of candidate and baselines alike; None if that
            was not asked for or could not be done.
        no_graph: Why it could not.
    """

    device: str
    regime: str
    ratios: tuple[Ratio, ...]
    control: Control | None = None
    load: float = 0.0
    switches: int = 0
    kind: Literal["measured"] = "measured"
    gpu: GpuClocks | None = None
    watched: bool = True
    graph: Timing | None = None
    no_graph: str = ""

    @property
    def worst(self) -> Ratio:
        """Against the best baseline: the smallest of the medians."""
        return min(self.ratios, key=lambda ratio: ratio.median)

    def against(self, baseline: str) -> Ratio | None:
        """The ratio to one baseline; None if it was not measured."""
        return next((r for r in self.ratios if r.baseline == baseline), None)

    def claim(self, ratio: Ratio) -> Claim:
        """What may be said about a ratio: nothing if the machine was too noisy to say it."""
        if not self.watched or (self.control is not None and not self.control.quiet):
            return "noisy"
        if self.gpu is not None and not self.gpu.steady:
            return "noisy"
        if ratio.lower > ratio.threshold:
            return "faster"
        return "slower" if ratio.upper < 1 / ratio.threshold else "no difference"


@dataclass(frozen=True, slots=True)
class Passed:
    """A right kernel: it has an accuracy, and times if they were asked for.

    Attributes:
        accuracy_ratio: Largest error against float64, as a multiple of the
            reference's own error at working precision.
        timing: None if no timing was asked for.
    """

    accuracy_ratio: float
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage found."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    evidence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """An evaluation, with what makes it worth believing.

    Attributes:
        isolation: Level that was really active (`harness.cage`), 0 to 4.
        layers: Names of the isolation layers that were really active.
        seed: Where all inputs came from; drawn fresh for each judge.
        kind: ``measured``, or ``emulated`` where the device that the kernel is for is missing.
    """

    evaluation: Passed | Failed
    stages: tuple[StageReport, ...]
    isolation: int
    layers: tuple[str, ...]
    seed: int
    threads: int
    kind: str = "measured"

    @property
    def passed(self) -> bool:
        """Whether every stage passed."""
        return isinstance(self.evaluation, Passed)

    def as_json(self) -> dict[str, Any]:
        """The document that ``kernelite check --json`` prints, without its schema name."""
        document: dict[str, Any] = {
            "verdict": "passed", "stage": None, "reason": None, "log": "",
            "isolation": self.isolation, "layers": list(self.layers), "accuracy_ratio": None,
            "timing": None, "stages": [asdict(stage) for stage in self.stages],
            "seed": self.seed, "threads": self.threads, "kind": self.kind,
        }  # fmt: skip
        match self.evaluation:
            case Failed(stage, reason, log):
                document |= {
                    "verdict": "failed",
                    "stage": stage,
                    "reason": reason.value,
                    "log": log,
                }
            case Passed(ratio, timing):
                document |= {"accuracy_ratio": ratio, "timing": timing and timing_json(timing)}
        return document


def timing_json(timing: Timing) -> dict[str, Any]:
    """The ratio to the best baseline on top, each single baseline below."""
    worst = timing.worst
    return {
        "kind": timing.kind, "device": timing.device, "regime": timing.regime,
        "baseline": worst.baseline, "median": worst.median, "lower": worst.lower,
        "upper": worst.upper, "kernel_us": worst.candidate_us, "baseline_us": worst.baseline_us,
        "claim": timing.claim(worst), "control": timing.control and asdict(timing.control),
        "load": timing.load, "switches": timing.switches, "watched": timing.watched,
        "gpu": timing.gpu and asdict(timing.gpu),
        "graph": timing.graph and timing_json(timing.graph), "no_graph": timing.no_graph or None,
        **{r.baseline: {**asdict(r), "claim": timing.claim(r)} for r in timing.ratios},
    }  # fmt: skip
