"""The environment variables of a fork server and its runners."""

from __future__ import annotations

import os

KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "XDG_CACHE_HOME", "HOME", "VIRTUAL_ENV",
        "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")  # fmt: skip


def of_server() -> dict[str, str]:
    """The environment without keys and tokens.

    Idle OpenMP threads spin for 3 ms by default and would slow down the next
    process under the clock; 10,000 turns are 0.1 ms, enough from one parallel
    region of a kernel to the next.  The thresholds of malloc are those that glibc
    itself arrives at in a process that has lived long: how many pages a call has
    to fault in must not depend on what a runner happened to free before.

    A server that asks CUDA itself whether there is a GPU would spoil CUDA for its
    children, so PyTorch asks NVML; and CUDA's cache of compiled kernels lies in
    HOME, where no runner may write.
    """
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "GOMP_SPINCOUNT": "10000",
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "CUDA_CACHE_DISABLE": "1",
    }
