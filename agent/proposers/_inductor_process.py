"""Torch.compile's Inductor in a process of its own, which it changes and may take down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from kernelite.kernels.cache import cache_folder


def ask(worker: str, request: Any, timeout_s: float) -> Any:
    """What a worker module answers to a request, both JSON; None if it dies or takes too long."""
    own = {"TORCHINDUCTOR_CACHE_DIR": str(cache_folder("inductor")),
           "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-m", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, **own}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            text, _ = process.communicate(json.dumps(request), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            text = ""
        finally:
            if process.poll() is None:  # its compilers die with it
                os.killpg(process.pid, signal.SIGKILL)
    return json.loads(text) if process.returncode == 0 else None
