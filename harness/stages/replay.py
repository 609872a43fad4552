"""Does another judge with another seed say the same, in new processes?"""

from __future__ import annotations

from dataclasses import replace

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Skipped


class Replay:
    """The whole judgement once more, but for the clock."""

    order = 120
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        from kernelite.harness.judge import Judge

        if not job.effort.replay:
            return Skipped("not asked for")
        first = job.judge
        effort = replace(job.effort, rounds=0, baselines=(), replay=False)
        with Judge(
            first.problem, first.server, first.threads, timeout_s=first.timeout_s,
            placement=first.placement,
        ) as other:  # fmt: skip
            found = other.evaluate(job.kernel, effort, job.device).evaluation
        if isinstance(found, Failed):
            return Failed("replay", found.reason, f"{found.stage}: {found.log}")
        return f"seed {other.seed} agrees"


STAGE = Replay()
