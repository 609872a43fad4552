"""Does a GPU kernel keep to its memory, and do its threads keep out of each other's way?"""

from __future__ import annotations

from kernelite.harness import sanitizer
from kernelite.harness.job import Job
from kernelite.harness.remote import Line, Lost
from kernelite.harness.verdict import Failed, Reason, Skipped

NETWORK = "namespaces"  # the layer that cuts it off


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
    first, kernel = job.cases.drawn[0], job.kernel
    request = {
        "do": "sanitize", "path": path, "tool": tool, "device": job.judge.placement.device,
        "backend": kernel.backend, "source": kernel.source, "artefact": str(job.build()),
        "signature": job.cases.instance.signature.as_json(),
    }  # fmt: skip
    try:
        with Line(job.judge.server, sanitizer.TIMEOUT_S + 10) as line:
            held, _ = line.ask({"do": "cage", "layers": [NETWORK], "gpu": True})
            if held["layers"] != [NETWORK]:
                return sanitizer.Report(None, "its network cannot be cut off")
            answer, _ = line.ask(request, [*first.tensors, *first.state])
    except Lost as lost:
        return sanitizer.Report(None, str(lost))
    return sanitizer.parsed(str(answer.get("text")), int(answer.get("code", -1)))


STAGE = Sanitizer()
