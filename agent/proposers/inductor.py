"""What torch.compile writes for the reference, as one C++ kernel of ours: a seed and a bar.

Only graphs that Inductor computes with its own loops: a call into a library
(matrix product, convolution, attention) makes the answer empty.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kernelite.agent.proposers import Fixed
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target
from kernelite.kernels.templates import Plan
from kernelite.problems.problem import Problem

WORKER = "kernelite.agent.proposers._inductor_worker"
TIMEOUT_S = 90.0


class Inductor:
    """Generated C++, compiled like any other."""

    seconds = 10.0

    def propose(self, problem: Problem, target: Target | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        if target is not None:
            return []
        answer = _ask(json.dumps(asdict(problem)))
        if "source" not in answer:
            return []
        count = answer["kernels"]
        label = f"inductor ({count} kernel{'s' if count != 1 else ''})"
        return [Fixed(label, Kernel("cpp", answer["source"]))]


def _ask(request: str) -> dict[str, Any]:
    """The worker's answer; empty if it dies or takes too long."""
    own = {"TORCHINDUCTOR_CACHE_DIR": str(cache_folder("inductor")),
           "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, **own}, start_new_session=True,
    ) as worker:  # fmt: skip
        try:
            text, _ = worker.communicate(request, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            text = ""
        finally:
            if worker.poll() is None:  # its compilers die with it
                os.killpg(worker.pid, signal.SIGKILL)
    answer: dict[str, Any] = json.loads(text) if worker.returncode == 0 else {}
    return answer


PROPOSER = Inductor()
