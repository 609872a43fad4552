"""Does it compile?"""

from __future__ import annotations

from kernelite.harness.judge import Job
from kernelite.harness.verdict import Failed, Reason
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import BuildFailed


class Build:
    """Builds through the kernel's backend, or finds the result in the cache."""

    order = 30

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        try:
            job.artefact = backend(job.kernel.backend).build(job.kernel)
        except BuildFailed as error:
            return Failed("build", Reason.BUILD, str(error))
        return f"{job.artefact.stat().st_size} bytes"


STAGE = Build()
