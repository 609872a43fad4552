"""Does it compile?"""

from __future__ import annotations

from kernelite.harness.job import Job


class Build:
    """Builds through the kernel's backend, or finds the result in the cache."""

    order = 30
    thorough = False

    def run(self, job: Job) -> str:
        """See `harness.stages.Stage`."""
        return f"{job.build().stat().st_size} bytes"


STAGE = Build()
