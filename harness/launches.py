"""Which kernels a call launches on a GPU, as CUPTI tells PyTorch's profiler.

For the process that calls, so that a candidate could forge it: it describes, and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

CALLS = 5
#: Names in a trace of PyTorch's profiler, and here.
FIELDS = {"grid": "grid", "block": "block", "registers": "registers per thread",
          "shared_bytes": "shared memory"}  # fmt: skip


def watched(call: Callable[[], object], folder: Path) -> list[dict[str, Any]]:
    """What a call launches, in the order of time that it takes; empty if CUPTI tells nothing."""
    gpu = torch.cuda.is_available()
    if not gpu:
        return []
    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
    seen.export_chrome_trace(str(path := folder / "trace.json"))
    return summed(json.loads(path.read_text())["traceEvents"], CALLS)


def summed(events: Sequence[Mapping[str, Any]], calls: int) -> list[dict[str, Any]]:
    """One entry for each kernel, launched in one way, of so many like calls.

    ``count`` is by call, ``us`` the mean of one launch; what the trace does not tell is None.
    """
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "kernel":
            told = event.get("args", {})
            way = {"kernel": event["name"]} | {name: told.get(key) for name, key in FIELDS.items()}
            entry = found.setdefault(json.dumps(way), {**way, "count": 0, "us": 0.0})
            entry["count"] += 1
            entry["us"] += event["dur"]
    for entry in found.values():
        entry["us"] /= entry["count"]
        entry["count"] /= calls
    return sorted(found.values(), key=lambda entry: -entry["us"] * entry["count"])
