"""Does a GPU kernel keep to its memory, and do its threads keep out of each other's way?"""

from __future__ import annotations

from kernelite.harness import sanitizer, watching
from kernelite.harness.job import Job
from kernelite.harness.remote import Lost
from kernelite.harness.verdict import Failed, Reason, Skipped


class Sanitizer:
    """compute-sanitizer's memcheck and racecheck, if they are installed and can do their work.

    What they could not look at is unknown: neither a pass nor a failure.
    """

    order = 98
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        if not job.judge.placement.accelerator:
            return Skipped("it watches kernels on a GPU only")
        if (path := sanitizer.path()) is None:
            return Skipped(f"no {sanitizer.NAME} here; it comes with the CUDA toolkit")
        for tool in sanitizer.TOOLS:
            report = _report(job, path, tool)
            if report.errors is None:
                return Skipped(f"{tool} could not do its work: {report.text}")
            if report.errors:
                text = f"{tool}: {report.errors} errors, the first: {report.text}"
                return Failed("sanitizer", Reason.MEMORY, text)
        return f"{' and '.join(sanitizer.TOOLS)} find nothing in one call"


def _report(job: Job, path: str, tool: str) -> sanitizer.Report:
    try:
        text, code = watching.told(job, [path, "--tool", tool, *sanitizer.OPTIONS])
    except Lost as lost:
        return sanitizer.Report(None, str(lost))
    return sanitizer.parsed(text, code)


STAGE = Sanitizer()
