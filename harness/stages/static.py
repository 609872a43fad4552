"""Does the source reach for what a kernel has no business with?"""

from __future__ import annotations

from kernelite.harness import sources
from kernelite.harness.job import Job
from kernelite.harness.verdict import Failed, Reason
from kernelite.kernels.kernel import BuildFailed, Kernel
from kernelite.kernels.launch import parse


class Static:
    """Reads the source; never runs it."""

    order = 20
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        kernel = job.kernel
        findings = sources.findings(kernel.source, kernel.backend, _generated(kernel))
        fatal = [finding for finding in findings if finding.fatal]
        if fatal:
            lines = [f"line {f.line}: {f.what}: {f.why}" for f in fatal[:5]]
            return Failed("static", Reason.FORBIDDEN, "; ".join(lines))
        return f"{len(findings)} notes" if findings else "nothing to note"


def _generated(kernel: Kernel) -> bool:
    """Whether the launch specification says so; a bad one fails at the build."""
    try:
        return parse(kernel.source).headers == "torch"
    except BuildFailed:
        return False


STAGE = Static()
