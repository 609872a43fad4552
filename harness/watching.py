"""A tool of NVIDIA's around one call of a candidate, where no network leads outside."""

from __future__ import annotations

from collections.abc import Sequence

from kernelite.harness import sanitizer
from kernelite.harness.job import Job
from kernelite.harness.remote import Line, Lost
from kernelite.harness.verdict import Reason

NETWORK = "namespaces"  # the layer that cuts it off


def told(job: Job, command: Sequence[str]) -> tuple[str, int]:
    """What the tool prints, and its exit code.

    Args:
        job: Whose kernel is called once, in a process of its own (`harness.sanitized`).
        command: What stands in front of that process's.

    Raises:
        Lost: the tool could not be run, or the kernel not be built.
    """
    instance, kernel = job.cases.instance, job.kernel
    request = {
        "do": "watch", "command": list(command), "device": job.judge.placement.device,
        "backend": kernel.backend, "source": kernel.source, "artefact": str(job.build()),
        "signature": instance.signature.as_json(),
    }  # fmt: skip
    with Line(job.judge.server, sanitizer.TIMEOUT_S + 10) as line:
        held, _ = line.ask({"do": "cage", "layers": [NETWORK], "gpu": True})
        if held["layers"] != [NETWORK]:
            raise Lost(Reason.CRASH, "its network cannot be cut off")
        answer, _ = line.ask(request, instance.arguments)
    return str(answer.get("text")), int(answer.get("code", -1))
