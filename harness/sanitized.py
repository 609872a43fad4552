"""One call of a kernel, for a tool that watches it: ``python -m kernelite.harness.sanitized FILE``.

The layers "process" and "landlock" hold it.  Where its tool's library talks to the tool is not
known beforehand, so system calls are not filtered; the network that it sees has no way out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import torch

from kernelite.harness import cage, processors
from kernelite.harness.sanitizer import FINISHED
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Signature

MEMORY_BYTES, CPU_S = 16 << 30, 600
LAYERS = ("process", "landlock")


def main(file: Path) -> NoReturn:
    """Call the kernel that the file asks for, and end with `FINISHED`."""
    request = torch.load(file, weights_only=True)
    artefact, scratch = Path(request["artefact"]), Path(request["scratch"])
    closed = cage.close(
        scratch, [artefact], MEMORY_BYTES, CPU_S, LAYERS, gpu=True, talks=True
    )  # fmt: skip
    if closed.layers != LAYERS:
        sys.exit(f"only {', '.join(closed.layers) or 'nothing'} would hold the kernel")
    processor = processors.opened(request["device"])
    tensors = [processor.placed(tensor) for tensor in request["tensors"]]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    kernel = Kernel(request["backend"], request["source"])
    signature = Signature.from_json(request["signature"])
    entry = backend(kernel.backend).load(kernel, artefact, signature)
    processors.adopt(entry, processor)
    processor.fetched(entry(tensors))
    os._exit(FINISHED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
