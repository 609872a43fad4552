"""How many times faster than the baselines, and how sure is that?"""

from __future__ import annotations

from kernelite.harness import timer
from kernelite.harness.judge import Job
from kernelite.harness.remote import Remote
from kernelite.harness.verdict import Failed, Reason


class Time:
    """Interleaved with every baseline; outputs of timed calls are judged too."""

    order = 100

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        if not job.effort.rounds:
            return "not asked for"
        assert job.remote is not None
        started = {name: job.judge.baseline(name) for name in job.effort.baselines}
        running = {name: r for name, r in started.items() if isinstance(r, Remote)}
        missing = [f"no {name}: {lost}" for name, lost in started.items() if name not in running]
        if not running:
            return Failed("timing", Reason.CLOCK, "; ".join(missing) or "no baseline")
        found = timer.compare(job, running)
        if isinstance(found, Failed):
            return found
        job.timing = found
        worst = found.worst
        text = f"{worst.median:.2f}x [{worst.lower:.2f}, {worst.upper:.2f}] {worst.baseline}"
        return "; ".join([text, *missing])


STAGE = Time()
