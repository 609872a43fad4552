"""Runs, verdicts and the archive as rich tables; data in, renderables out.

Texts that candidates or users wrote are shown as plain text: never as markup,
never with the escape sequences that they may hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kernelite.results import unmeasured, wording
from kernelite.results.archive import Entry, FoundCandidate, FoundProblem, StoredRun
from kernelite.results.evidence import Shortlisted
from kernelite.results.fold import Attempt, Run, SiteResult
from kernelite.results.records import KeptLibrary, NoWinner, Ratio, TimingResult, Verdict, Winner

STYLES = {"passed": "green", "failed": "red", "faster": "bold green", "not faster": "yellow",
          "not verified": "bold red", "speed unknown": "yellow",
          "unfinished": "yellow", "empty": "yellow"}  # fmt: skip


def run_view(run: Run) -> RenderableType:
    """Everything about one run: summary, bottlenecks, candidates, outcome, whole model."""
    parts: list[RenderableType] = [summary(run)]
    parts += [bottlenecks(run)] if run.sites else []
    parts += [candidates(site) for site in run.sites if site.attempts]
    parts += [winners(run)] if any(site.decision for site in run.sites) else []
    parts += [whole_model(run)] if run.verified else []
    parts += [_plain(f"fallback: {f.site or 'run'}: {f.reason}", "yellow") for f in run.fallbacks]
    parts += [_plain(f"unreadable event {u.kind}: {u.reason}", "red") for u in run.unreadable]
    return Group(*parts)


def summary(run: Run) -> RenderableType:
    """What came out, in sentences."""
    headline = Text.assemble(
        (f"[{wording.outcome(run)}] ", STYLES[wording.outcome(run)]),
        (wording.visible(wording.headline(run)), "bold"),
    )
    return Group(headline, *(_plain(sentence) for sentence in wording.sentences(run)))


def bottlenecks(run: Run) -> Table:
    """The ranked sites: what each costs and what could be won."""
    table = _table(f"Bottlenecks on {run.device}, eager")
    table.add_column("site", ratio=3, overflow="fold")
    table.add_column("calls", justify="right")
    table.add_column(f"share\n{run.kind}", justify="right", no_wrap=True)
    table.add_column("attainable\nmodelled", justify="right", no_wrap=True)
    table.add_column("gain\nmodelled", justify="right", no_wrap=True)
    table.add_column("verdict", ratio=4, overflow="fold")
    for site in (result.site for result in run.sites):
        table.add_row(
            _plain(site.site), _count(site.calls), wording.share(site.share),
            wording.factor(site.attainable), wording.share(site.gain), _plain(site.verdict),
        )  # fmt: skip
    return table


def candidates(result: SiteResult) -> Table:
    """The candidates of one site, in the order of their making; wrong and slow ones too."""
    device = next((a.timing.device for a in result.attempts if a.timing and a.timing.device), None)
    where = f", measured on {device}" if device else ""
    table = _table(f"Candidates for {result.site.label or result.site.site}{where}")
    table.add_column("id", no_wrap=True)
    table.add_column("proposer", overflow="fold")
    table.add_column("what", ratio=3, overflow="fold")
    table.add_column("stages", ratio=3, overflow="fold")
    table.add_column("speed-up [95 %]", no_wrap=True)
    table.add_column("vs", overflow="fold")
    for attempt in result.attempts:
        made = attempt.candidate
        won = result.winner is not None and made.id == result.winner.candidate
        table.add_row(
            _plain(made.id[:8] + (" *" if won else ""), "bold" if won else ""),
            _plain(f"{made.proposer} {made.backend}"), _plain(made.label),
            _stages(attempt.verdict), _attempted(attempt), _baseline(attempt.timing),
        )  # fmt: skip
    return table


EMULATED = "correct under emulation; without the device its speed is unknown"


def winners(run: Run) -> Table:
    """How each searched site was decided."""
    if run.absent:
        return unmeasured.shortlists(run, _table(f"Kernels to time on {run.device}, not run there"))
    table = _table(f"Outcome by site, measured on {run.device} (* in the model)")
    table.add_column("site", ratio=3, overflow="fold")
    table.add_column("kernel", ratio=3, overflow="fold")
    table.add_column("vs eager", overflow="fold")
    table.add_column("vs torch.compile", overflow="fold")
    for result in run.sites:
        match result.decision:
            case Winner() as won:
                dropped = f"dropped: {result.dropped}" if result.dropped else ""
                name = f"{won.proposer} {won.backend} {won.candidate[:8]}"
                kernel = _plain(dropped or f"{name} *", "yellow" if dropped else "green")
                ratios = (_ratio(won.vs_eager), _ratio(won.vs_compile))
                table.add_row(_plain(result.site.site), kernel, *ratios)
            case KeptLibrary(reason=reason):
                table.add_row(_plain(result.site.site), _plain(f"library kept: {reason}"), "", "")
            case Shortlisted(candidates=waiting):
                waits = _plain(f"{len(waiting)} kernels not timed yet", "yellow")
                table.add_row(_plain(result.site.site), waits, "", "")
            case NoWinner(reason=reason):
                table.add_row(_plain(result.site.site), _plain(f"no winner: {reason}"), "", "")
    return table


def whole_model(run: Run) -> RenderableType:
    """Latency and speed-up of the whole model, one line per way of running it."""
    assert run.verified is not None
    verified = run.verified
    table = _table(f"Whole model, measured on {run.device}")
    table.add_column("way")
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("patched is faster by", justify="right", no_wrap=True)
    times, speedup = verified.latency_us, verified.speedup
    table.add_row("eager", wording.time(times.eager), _ratio(speedup.vs_eager))
    table.add_row("torch.compile", wording.time(times.compile), _ratio(speedup.vs_compile))
    graph = "eager in a CUDA graph"
    for name, us, ratio in (("torch.compile (max-autotune)", times.max_autotune,
                             speedup.vs_max_autotune), (graph, times.eager_graph,
                             speedup.vs_eager_graph)):  # fmt: skip
        if us is not None:
            table.add_row(name, wording.time(us), _ratio(ratio))
    table.add_row("patched", wording.time(times.patched), "")
    if times.patched_graph is not None:
        table.add_row("patched in a CUDA graph", wording.time(times.patched_graph), "")
    promised = f"attainable over eager (modelled): {wording.factor(wording.attainable(run))}"
    lines = [_plain(promised)]
    lines += [_plain(f"dropped {site}: {reason}", "yellow") for site, reason in verified.dropped]
    return Group(table, *lines)


def verdict_view(verdict: Verdict) -> RenderableType:
    """One judgement: a line per stage, then the decision."""
    table = _table(None)
    table.add_column("stage", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("evidence", ratio=1, overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    for stage in verdict.stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:.2f}"
        status = _plain(stage.status, STYLES.get(stage.status, "yellow"))
        table.add_row(_plain(stage.name), status, _plain(stage.evidence or ""), seconds)
    lines: list[RenderableType] = [table] if verdict.stages else []
    if verdict.passed:
        lines.append(_plain(f"passed; {_accuracy(verdict)}", "bold green"))
        lines.append(_timing(verdict.timing) if verdict.kind == "measured" else _plain(EMULATED))
    else:
        where = f"failed at {verdict.stage or 'unknown'}: {verdict.reason or 'unknown'}"
        lines += [_plain(where, "bold red")]
        lines += [_plain(verdict.log)] if verdict.log else []
    active = ", ".join(verdict.layers)
    level = wording.UNKNOWN if verdict.isolation is None else str(verdict.isolation)
    lines.append(_plain(f"isolation level {level}" + (f" ({active})" if active else ""), "dim"))
    return Group(*lines)


def archive_list(entries: Sequence[Entry], runs: Iterable[StoredRun]) -> RenderableType:
    """Every searched problem with the best right candidate, winners marked."""
    table = _table("Problems and their best right candidates (* in the patched model)")
    table.add_column("problem", overflow="fold")
    table.add_column("device", ratio=2, overflow="fold")
    table.add_column("run", ratio=2, overflow="fold")
    table.add_column("best", ratio=2, overflow="fold")
    table.add_column("speed-up [95 %]", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    for entry in entries:
        attempts = entry.result.attempts
        right = sum(bool(a.verdict and a.verdict.passed) for a in attempts)
        table.add_row(
            _plain(f"{entry.problem[:8]} {entry.result.site.label}".strip()),
            _plain(entry.stored.run.device),
            _plain(entry.stored.run.started.run or entry.stored.folder.name),
            _best(entry), _speed(entry.best.timing if entry.best else None),
            f"{right}/{len(attempts)}",
        )  # fmt: skip
    broken = [_plain(f"{r.folder}: {r.broken}", "red") for r in runs if r.broken]
    return Group(table, *broken)


def archive_show(found: FoundCandidate | FoundProblem) -> RenderableType:
    """One candidate with lineage, verdicts and source, or one problem with its candidates."""
    if isinstance(found, FoundProblem):
        parts: list[RenderableType] = [_plain(f"problem {found.id}", "bold")]
        for entry in found.entries:
            parts += [_plain(f"run {entry.stored.folder}"), candidates(entry.result)]
        captured = [e.result.captured for e in found.entries if e.result.captured]
        return Group(*parts, *(_plain(c.source) for c in captured[:1]))
    made = found.attempts[-1][1].candidate
    choices = ", ".join(f"{name}={value}" for name, value in made.choices.items())
    parts = [_plain(f"candidate {made.id}: {made.label}", "bold")]
    parts += [_plain(f"{made.proposer} {made.backend} for problem {made.problem} {choices}")]
    parts += [_plain(f"child of {a.candidate.id}: {a.candidate.label}") for a in found.lineage]
    for stored, attempt in found.attempts:
        parts.append(_plain(f"run {stored.folder}"))
        parts += [verdict_view(verdict) for verdict in attempt.verdicts]
    return Group(*parts, _plain(made.source))


def _table(title: str | None) -> Table:
    heading = _plain(title, "bold") if title else None
    return Table(
        title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _plain(text: str, style: str = "") -> Text:
    return Text(wording.visible(text), style=style, overflow="fold")


def _count(value: int | None) -> str:
    return wording.UNKNOWN if value is None else str(value)


def _ratio(value: Ratio | None) -> Text:
    lost = value is not None and value.upper is not None and value.upper < 1
    won = value is not None and value.lower is not None and value.lower > 1
    return Text(wording.ratio(value), style="red" if lost else "green" if won else "")


def _attempted(attempt: Attempt) -> Text:
    """Its speed; of what passed under emulation that is unknown."""
    if attempt.verdict and attempt.verdict.passed and attempt.verdict.kind == "emulated":
        return Text(unmeasured.SPEED_UNKNOWN, style="yellow")
    return _speed(attempt.timing)


def _speed(timing: TimingResult | None) -> Text:
    if timing is None:
        return Text("not timed", style="dim")
    return _ratio(Ratio(timing.median, timing.lower, timing.upper))


def _baseline(timing: TimingResult | None) -> Text:
    if timing is None:
        return Text("")
    kind = "" if timing.kind == "measured" else f" ({timing.kind})"
    return _plain(f"{timing.baseline or wording.UNKNOWN}{kind}")


def _timing(timing: TimingResult | None) -> Text:
    if timing is None:
        return Text("not timed")
    line = _plain(f"{timing.kind} on {timing.device or wording.UNKNOWN}: ")
    line.append_text(_speed(timing)).append(" against ").append_text(_baseline(timing))
    times = f"{wording.time(timing.kernel_us)} instead of {wording.time(timing.baseline_us)}"
    return line.append(f", {times}").append(_clocks(timing.gpu))


def _clocks(gpu: Mapping[str, Any] | None) -> str:
    if gpu is None:
        return ""
    before, after = (gpu.get(name, wording.UNKNOWN) for name in ("before_mhz", "after_mhz"))
    slowed = "".join(f", {why}" for why in gpu.get("slowed", ()))
    return wording.visible(f"; its clock: {before} MHz, at the end {after} MHz{slowed}")


def _accuracy(verdict: Verdict) -> str:
    if verdict.accuracy_ratio is None:
        return "error against float64 unknown"
    return f"error against float64 is {verdict.accuracy_ratio:.2f} of the reference's own"


def _stages(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("not judged", style="yellow")
    if verdict.passed:
        return Text(f"passed {sum(s.status == 'passed' for s in verdict.stages)}", style="green")
    return _plain(f"failed {verdict.stage or 'unknown'}: {verdict.reason or ''}", "red")


def _best(entry: Entry) -> Text:
    if entry.best is None:
        return Text("nothing right", style="yellow")
    made = entry.best.candidate
    return _plain(f"{made.id[:8]} {made.proposer} {made.backend}" + (" *" if entry.won else ""))
