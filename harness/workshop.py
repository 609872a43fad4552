"""The cage that lets compilers run, for a process that builds.

They find the scratch folder for all that they keep.  Where a GPU is used, whatever the process
starts may stay out of a namespace of processes: there CUDA could find other processes' numbers
under ``/proc`` than its own (`harness.trial` tries it).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kernelite.harness import cage, watchdog

LAYERS = ("namespaces", "process", "landlock")
FILES = "landlock"  # names files of the process that it is put on
CPU_S = 600


def enter(
    scratch: Path, layers: Sequence[str] = LAYERS, gpu: bool = False, own_processes: bool = True
) -> None:
    """Lock this process up with those of the layers that a compiler can stand.

    Raises:
        MachineError: it has several threads.
    """
    wanted = [name for name in LAYERS if name in layers]
    most = watchdog.limit_bytes()
    others = [name for name in wanted if name != FILES]
    cage.close(
        scratch, [], most, CPU_S, others, may_execute=True, gpu=gpu, own_processes=own_processes
    )
    installed = f"{sys.prefix}/bin{os.pathsep}{os.environ.get('PATH', '')}"
    private = dict.fromkeys(("XDG_CACHE_HOME", "TMPDIR", "HOME"), str(scratch))
    os.environ |= private | {"PATH": installed}
    tempfile.tempdir = None  # the server may have looked one up
    if own_processes:
        cage.enter_own_processes()
    if FILES in wanted:
        cage.close(scratch, [], most, CPU_S, (FILES,), may_execute=True, gpu=gpu)
