"""Does it load, return tensors of the right look, and go away again?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed


class Smoke:
    """One call in a runner of its own, and the end of the kernel: what it leaves to do for then."""

    order = 40
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        case, first = job.cases.drawn[0], job.cases.instance
        with job.new_runner(first.signature, first.state) as remote:
            outputs, _ = job.call(case, remote=remote)
            if failed := job.accept("smoke", case, outputs):
                return failed
            remote.ask({"do": "unload"})
        return f"{len(outputs)} outputs as declared; unloads"


STAGE = Smoke()
