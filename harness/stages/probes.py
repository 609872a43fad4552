"""Does it compute anew each time, from its arguments alone, and leave everything as it was?"""

from __future__ import annotations

from kernelite.harness.job import Job
from kernelite.harness.probes import PROBES
from kernelite.harness.verdict import Failed


class Probes:
    """What no comparison of one answer can show; see `harness.probes`."""

    order = 90
    thorough = False

    def run(self, job: Job) -> str | Failed:
        """See `harness.stages.Stage`."""
        seen = []
        for probe in PROBES:
            found = probe(job)
            if isinstance(found, Failed):
                return found
            seen.append(found)
        return "; ".join(filter(None, seen))


STAGE = Probes()
