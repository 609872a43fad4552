"""How results are put into words and figures, the same on paper and in a terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kernelite.results.fold import Run
from kernelite.results.records import Ratio

UNKNOWN = "unknown"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])")


def time(us: float | None) -> str:
    """``412 us``, ``3.21 ms``, ``1.20 s``."""
    if us is None:
        return UNKNOWN
    for limit, divisor, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms"), (float("inf"), 1e6, "s")):
        if us < limit:
            return f"{_three_digits(us / divisor)} {unit}"
    return UNKNOWN


def factor(value: float | None) -> str:
    """``1.31x``; three digits from ten up."""
    return UNKNOWN if value is None else f"{_three_digits(value)}x"


def ratio(value: Ratio | None) -> str:
    """``1.31x [1.28, 1.34]``: median and 95 % interval."""
    if value is None or value.median is None:
        return UNKNOWN
    if value.lower is None or value.upper is None:
        return factor(value.median)
    return f"{factor(value.median)} [{_three_digits(value.lower)}, {_three_digits(value.upper)}]"


def share(value: float | None) -> str:
    """``12.3 %``."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def count(value: float | None) -> str:
    """``1.2 G``, with the prefixes of powers of 1000."""
    if value is None:
        return UNKNOWN
    for limit, divisor, prefix in (
        (1e3, 1, ""),
        (1e6, 1e3, "k"),
        (1e9, 1e6, "M"),
        (1e12, 1e9, "G"),
    ):
        if value < limit:
            return f"{_three_digits(value / divisor)} {prefix}".rstrip()
    return f"{_three_digits(value / 1e12)} T"


def moment(ts: float | None) -> str:
    """``2026-11-21 11:40 UTC``."""
    return UNKNOWN if ts is None else f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M} UTC"


def visible(text: str) -> str:
    """``text`` without what a terminal obeys: escape sequences, controls, text direction."""
    return CONTROL.sub("�", ANSI.sub("", text.replace("\r\n", "\n")))


def best_baseline(run: Run) -> tuple[str, Ratio] | None:
    """The hardest of the baselines and the whole model's ratio against it; None if unknown."""
    if run.verified is None:
        return None
    speedup = run.verified.speedup
    known = {"eager": speedup.vs_eager, "torch.compile": speedup.vs_compile,
             "torch.compile (max-autotune)": speedup.vs_max_autotune,
             "eager in a CUDA graph": speedup.vs_eager_graph}  # fmt: skip
    measured = [(name, r) for name, r in known.items() if r and r.median is not None]
    return min(measured, key=lambda pair: pair[1].median or 0.0, default=None)


def reached(run: Run) -> float | None:
    """Part of the promised time saving that was measured, 1 for all; None if unknown."""
    promised = attainable(run)
    measured = run.verified.speedup.vs_eager if run.verified else None
    if not promised or promised <= 1 or not measured or not measured.median:
        return None
    return (1 - 1 / measured.median) / (1 - 1 / promised)


def attainable(run: Run) -> float | None:
    """Whole-model speed-up that the ranking promised; modelled."""
    verified = run.verified.attainable if run.verified else None
    return run.model_attainable if verified is None else verified


def outcome(run: Run) -> str:
    """One of ``faster``, ``not faster``, ``not verified``, ``unfinished``, ``empty``.

    ``speed unknown`` where the device was not there.
    """
    best = best_baseline(run)
    if run.last is None or not run.started.run:
        return "empty"
    if run.finished is None and run.verified is None:
        return "unfinished"
    if run.absent:
        return "speed unknown"
    if run.verified is None or not run.verified.verified:
        return "not verified"
    return "faster" if best and (best[1].lower or 0) > 1 else "not faster"


def headline(run: Run) -> str:
    """The run in one sentence."""
    best, target = best_baseline(run), run.started.target or "The model"
    match outcome(run):
        case "empty":
            return "This run's log does not say what was to be optimized."
        case "unfinished":
            return f"The run on {target} has not finished."
        case "speed unknown":
            return _waiting(run, target)
        case "not verified" if run.verified is None:
            return f"{target} was not changed, so there is no whole-model figure."
        case "not verified":
            return f"{target} was patched, but its outputs were not verified: do not use it."
    if best is None:
        return f"{target} was verified, but its speed is unknown."
    name, found = best
    baselines = "eager and torch.compile" if _both(run) else f"{name} alone"
    against = f"the best of {baselines}" if _both(run) else baselines
    if (found.lower or 0) > 1:
        return f"{target} runs {factor(found.median)} faster than {against}."
    if (found.upper or 0) >= 1:
        return f"{target} is no faster than {against}: the difference is within the noise."
    return f"{target} runs at {factor(found.median)} of the speed of {against}."


def _waiting(run: Run, target: str) -> str:
    """What there is to time on a GPU that was not there."""
    sites = sum(bool(site.shortlist) for site in run.sites)
    if sites:
        return (f"{target}: kernels for {_plural(sites, 'site')} are right under emulation and"
                f" compile for {run.device}; their speed is unknown.")  # fmt: skip
    if any(site.decision for site in run.sites):
        return f"{target}: no kernel for {run.device} was found."
    return f"{target} was ranked for {run.device}; no kernel was searched."


def _missing(run: Run) -> list[str]:
    """What it takes to know more, where the device was not there."""
    folder = run.started.options.get("out") or "FOLDER"
    return [f"Nothing ran on {run.device}, which is not here: shares and gains are modelled from"
            " its published figures, kernels are emulated and compiled, no time is known.",
            f"On a machine with one, with this folder and the model's file:"
            f" kernelite resume {folder}"]  # fmt: skip


def sentences(run: Run) -> list[str]:
    """What was found and how sure that is, in plain words; nothing that is unknown."""
    said: list[str] = []
    best, verified = best_baseline(run), run.verified
    if best is not None and verified is not None:
        said.append(f"Measured on {run.device} against {best[0]}, the best baseline:"
                    f" {ratio(best[1])}, median and 95 % interval.")  # fmt: skip
        said.append(_correctness(run))
    if (part := reached(run)) is not None:
        said.append(f"The ranking promised {factor(attainable(run))} over eager (modelled);"
                    f" {100 * part:.0f} % of that saving was measured.")  # fmt: skip
    if run.absent:
        said += _missing(run)
    if judged := [attempt for attempt in run.attempts if attempt.verdict]:
        searched = sum(bool(site.attempts) for site in run.sites)
        won = sum(site.winner is not None for site in run.sites)
        ending = "" if run.absent else f"; {_plural(won, 'site')} with a kernel that won"
        said.append(f"{_plural(len(judged), 'candidate')} judged at"
                    f" {_plural(searched, 'site')}{ending}.")  # fmt: skip
    if verified is not None and verified.note:
        said.append(visible(verified.note))
    if run.finished is None and run.last is not None:
        said.append(f"The log ends with {run.last!r} at {moment(run.last_ts)}; what follows"
                    " is what was known then. Continue with --resume.")  # fmt: skip
    return said


def _correctness(run: Run) -> str:
    assert run.verified is not None
    error = run.verified.max_error_ratio
    if not run.verified.verified:
        return "The outputs of the patched model were not verified."
    if error is None:
        return "The outputs of the patched model were verified against float64."
    return (f"The outputs were verified: the patched model's error against float64 is at most"
            f" {_three_digits(error)} of the eager model's own.")  # fmt: skip


def _both(run: Run) -> bool:
    speedup = run.verified.speedup if run.verified else None
    return bool(speedup and speedup.vs_eager and speedup.vs_compile)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _three_digits(value: float) -> str:
    """Three significant digits, never an exponent for what people read."""
    size = abs(value)
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 100 else f"{value:.0f}"
