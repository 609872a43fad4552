"""The process that compiles a reference for a GPU: a problem on stdin, candidates on stdout."""

from __future__ import annotations

import json
import os
import sys

from kernelite.agent.proposers import _inductor_pretend as pretending
from kernelite.errors import KerneliteError
from kernelite.kernels.targets import find
from kernelite.problems.problem import Problem


def main() -> None:
    """Answer one request; what the problem itself writes to stdout goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    target = find(request["target"])
    if pretended := not pretending.is_there(target):
        pretending.pretend(target)
    from kernelite.agent.proposers._inductor_answers import Answers  # Inductor looks at the GPU

    with answers:
        try:
            found = list(Answers(Problem(**request["problem"]), target, pretended).answers())
        except KerneliteError as error:
            found = [{"label": "inductor", "refused": str(error)}]
        json.dump(found, answers)


if __name__ == "__main__":
    main()
