"""One call of a kernel, for a tool that watches it.

``python -m kernelite.harness.sanitized FILE ARTEFACT``, where FILE says what to call and its
folder is all that may be written to.  The layers "process" and "landlock" hold the kernel.  Where
the tool's library talks to the tool is not known beforehand, so system calls are not filtered; the
network that it sees has no way out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from kernelite.harness import cage

MEMORY_BYTES, CPU_S = 16 << 30, 600
LAYERS = ("process", "landlock")
FINISHED = 40  # exit code of a process that has made its call


def main(file: Path, artefact: Path) -> NoReturn:
    """Lock this process up, before a library starts a thread, and make the call."""
    closed = cage.close(
        file.parent, [artefact], MEMORY_BYTES, CPU_S, LAYERS, gpu=True, talks=True
    )  # fmt: skip
    if closed.layers != LAYERS:
        sys.exit(f"only {', '.join(closed.layers) or 'nothing'} would hold the kernel")
    _call(file, artefact)
    os._exit(FINISHED)


def _call(file: Path, artefact: Path) -> None:
    import torch

    from kernelite.harness import processors
    from kernelite.kernels.backends import backend
    from kernelite.kernels.kernel import Kernel
    from kernelite.problems.problem import Signature

    request = torch.load(file, weights_only=True)
    processor = processors.opened(request["device"])
    tensors = [processor.placed(tensor) for tensor in request["tensors"]]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    kernel = Kernel(request["backend"], request["source"])
    signature = Signature.from_json(request["signature"])
    entry = backend(kernel.backend).load(kernel, artefact, signature)
    processors.adopt(entry, processor)
    if processor.device.type == "cuda":  # for tools that look from here on
        torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
    processor.fetched(entry(tensors))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
