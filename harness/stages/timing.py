"""How many times faster than the baselines, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kernelite.harness import timer
from kernelite.harness.job import Job
from kernelite.harness.remote import Remote
from kernelite.harness.verdict import Control, Failed, Ratio, Reason, Skipped, Timing


class Time:
    """Interleaved with every baseline; outputs of timed calls are judged too."""

    order = 100
    thorough = False

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if not job.effort.rounds:
            return Skipped("not asked for")
        if job.emulated:
            return Skipped("emulated here: its speed is unknown")
        started = {name: job.judge.baseline(name) for name in job.effort.baselines}
        missing = [f"no {name}: {lost}" for name, lost in started.items()
                   if not isinstance(lost, Remote)]  # fmt: skip
        if len(missing) == len(started):
            return Failed("timing", Reason.CLOCK, "; ".join(missing) or "no baseline")
        found = []
        for number in range(job.effort.processes):
            one = _one_process(job, anew=number > 0)
            if isinstance(one, Failed):
                return one
            found.append(one)
        job.timing = _of_all(found)
        worst = job.timing.worst
        text = f"{worst.median:.2f}x [{worst.lower:.2f}, {worst.upper:.2f}] {worst.baseline}"
        return "; ".join([f"{text}, {job.timing.claim(worst)}", *_graphs(job.timing), *missing])


def _graphs(timing: Timing) -> list[str]:
    """What replays of graphs say, if they were asked."""
    if timing.graph is None:
        return [f"as graphs: unknown: {timing.no_graph}"] if timing.no_graph else []
    worst = timing.graph.worst
    text = f"{worst.median:.2f}x [{worst.lower:.2f}, {worst.upper:.2f}] {worst.baseline}"
    return [f"as graphs: {text}, {timing.graph.claim(worst)}"]


def _one_process(job: Job, anew: bool) -> Timing | Failed:
    """Time one process of the candidate; ``anew`` starts it, and the baselines, for this."""
    if not anew:
        return timer.compare(job, job.runner, job.judge.running(job.effort.baselines))
    job.judge.restart(job.effort.baselines)
    instance = job.cases.instance
    with job.new_runner(instance.signature, instance.state) as remote:
        return timer.compare(job, remote, job.judge.running(job.effort.baselines))


def _of_all(found: Sequence[Timing]) -> Timing:
    """The widest interval of the processes: what is claimed must hold in each."""
    first, *_ = found
    ratios = []
    for own in first.ratios:
        same = [r for timing in found if (r := timing.against(own.baseline))]
        ratios.append(_widest(same))
    controls = [timing.control for timing in found if timing.control]
    worst = max(controls, key=lambda control: control.upper / control.lower, default=None)
    unequal = next((c for c in controls if not c.quiet), None)
    control: Control | None = unequal or worst
    gpu = next((t.gpu for t in found if t.gpu and not t.gpu.steady), first.gpu)
    graphs = [timing.graph for timing in found if timing.graph]
    every = len(graphs) == len(found)
    return replace(
        first, ratios=tuple(ratios), control=control, load=max(t.load for t in found),
        switches=sum(t.switches for t in found), gpu=gpu,
        graph=_of_all(graphs) if every else None,
        no_graph=next((t.no_graph for t in found if t.no_graph), ""),
    )  # fmt: skip


def _widest(same: Sequence[Ratio]) -> Ratio:
    """Median of the medians, lowest lower bound, highest upper bound."""
    middle = sorted(same, key=lambda ratio: ratio.median)[len(same) // 2]
    return replace(
        middle, lower=min(r.lower for r in same), upper=max(r.upper for r in same),
        rounds=sum(r.rounds for r in same), detectable=max(r.detectable for r in same),
    )  # fmt: skip


STAGE = Time()
