"""A run like those that `optimize` writes, with winners, losses, failures and a dropped site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kernelite.results.log import EventLog

DEVICE = "Intel Xeon Platinum 8481C"
SOURCE = """// kernelite: {"entry": "add_rms_norm", "args": ["in0", "out0", "i64: in0.shape[1]"]}
#include "prelude.h"

// One pass per row: the sum of squares is kept in registers while the row is still in L1.
extern "C" void add_rms_norm(const float* x, const float* r, const float* w, float* y, int64_t n) {
    constexpr int kUnroll = 4;
    for (int64_t i = 0; i < n; i += 16 * kUnroll) {
        __m512 a = _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(r + i));
        _mm512_storeu_ps(y + i, a);  /* kept for the second pass */
    }
    if (n < 0x40 && w[0] > 1e-6f) return;
}
"""
#: site, label, calls, one call in us, share, attainable, limit, flops, bytes
SITES = (
    ("layers.*.norm", "add + rms_norm", 8, 512.0, 0.152, 6.1, "memory", 5.2e6, 1.3e7),
    ("layers.*.mlp.act", "swiglu", 4, 760.0, 0.113, 3.4, "memory", 9.4e6, 1.7e7),
    ("layers.*.attention", "attention (causal)", 4, 690.0, 0.102, 1.9, "compute", 6.7e7, 6.3e6),
    ("layers.*.rotary", "rotary embedding", 4, 310.0, 0.046, 4.2, "memory", 3.1e6, 8.4e6),
    ("loss", "cross_entropy", 1, 980.0, 0.036, 2.8, "memory", 1.2e7, 2.6e7),
    ("embed", "embedding", 1, 110.0, 0.004, 1.1, "memory", 0, 4.2e6),
    ("layers.*.mlp.up", "linear", 8, 1650.0, 0.49, 1.0, "compute", 2.1e8, 9.8e6),
)
STAGES = ("admission", "static", "build", "smoke", "accuracy", "determinism", "edges", "probes")

Body = Mapping[str, Any]


def ratio(median: float, half: float = 0.03) -> dict[str, float]:
    return {"median": round(median, 3), "lower": round(median - half, 3),
            "upper": round(median + half, 3)}  # fmt: skip


def passed(speed: float | None, half: float = 0.04, base_us: float = 500.0) -> dict[str, Any]:
    stages = [{"name": n, "status": "passed", "evidence": "ok", "seconds": 0.01} for n in STAGES]
    timing = None
    if speed is not None:
        stages.append({"name": "timing", "status": "passed", "evidence": "", "seconds": 0.9})
        timing = {"kind": "measured", "device": DEVICE, "regime": "warm", "baseline": "compile",
                  **ratio(speed, half), "kernel_us": base_us / speed, "baseline_us": base_us,
                  "eager": ratio(speed * 1.6, half), "compile": ratio(speed, half)}  # fmt: skip
    return {"verdict": "passed", "isolation": 3, "layers": ["process", "seccomp", "landlock"],
            "seed": 1234, "threads": 2, "accuracy_ratio": 0.62, "stages": stages,
            "timing": timing}  # fmt: skip


def failed(stage: str, reason: str, log: str) -> dict[str, Any]:
    at = STAGES.index(stage)
    stages = [{"name": n, "status": "passed", "evidence": "", "seconds": 0.01} for n in STAGES[:at]]
    stages.append({"name": stage, "status": "failed", "evidence": log[:60], "seconds": 0.02})
    return {"verdict": "failed", "stage": stage, "reason": reason, "log": log, "isolation": 3,
            "layers": ["process", "seccomp", "landlock"], "stages": stages}  # fmt: skip


def example_events() -> Iterator[tuple[str, Body]]:
    yield from _analysis()
    for number, (site, label, *_rest) in enumerate(SITES[:5]):
        yield from _search(number, site, label)
    yield "kept_library", {"site": "layers.*.attention",
                           "reason": "scaled_dot_product_attention is faster"}  # fmt: skip
    yield "no_winner", {"site": "loss", "reason": "nothing right was faster than torch.compile"}
    won = ["layers.*.norm", "layers.*.mlp.act", "layers.*.rotary"]
    yield "patched", {"sites": won}
    yield "verified", {
        "latency_us": {"eager": 26940.0, "compile": 26120.0, "patched": 20880.0},
        "interval_us": {"eager": [26500.0, 27480.0], "compile": [25800.0, 26610.0],
                        "patched": [20610.0, 21240.0]},
        "speedup": {"vs_eager": ratio(1.291, 0.021), "vs_compile": ratio(1.252, 0.019)},
        "attainable": 1.38, "verified": True, "max_error_ratio": 0.84,
        "dropped": [["layers.*.rotary", "the whole model was 0.4 % slower with it"]],
    }  # fmt: skip
    yield "run_finished", {"seconds": 118.4}


def _analysis() -> Iterator[tuple[str, Body]]:
    yield "run_started", {
        "run": "2026-11-21-llama-4f1c", "target": "examples/llama.py:build",
        "device": {"name": DEVICE, "kind": "cpu", "cores": 2, "threads": 2, "simd": "avx512",
                   "fma": {"value": 2.31e11, "unit": "flops/s", "source": "fma loop"},
                   "copy": [{"working_set_bytes": 1 << 20, "ceiling": {"value": 6.1e10}},
                            {"working_set_bytes": 1 << 28, "ceiling": {"value": 2.17e10}}]},
        "options": {"seed": 0, "budget_seconds": 120, "max_candidates": 64},
        "versions": {"kernelite": "0.1.0", "torch": "2.13.0+cpu", "g++": "12.2.0"},
    }  # fmt: skip
    rows = [{"path": s, "kind": label, "calls": n, "self_us": us * n, "total_us": us * n,
             "share": share, "flops": f * n, "bytes": b * n, "bound": limit, "attainable": top}
            for s, label, n, us, share, top, limit, f, b in SITES]  # fmt: skip
    yield "profiled", {"latency_us": 26940.0, "rows": rows}
    ranked = [{"site": s, "problem": f"{i:x}b7e19c2d0af", "path": s, "label": label, "calls": n,
               "share": share, "measured_us": us, "roofline_us": us / top / 1.1, "limit": limit,
               "flops": f, "bytes": b, "attainable": top, "gain": share * (1 - 1 / top),
               "verdict": "search" if i < 5 else "nothing to win: at the library's speed"}
              for i, (s, label, n, us, share, top, limit, f, b) in enumerate(SITES)]  # fmt: skip
    yield "ranked", {"sites": ranked, "model_attainable": 1.38}


def _search(number: int, site: str, label: str) -> Iterator[tuple[str, Body]]:
    problem, base_us = f"{number:x}b7e19c2d0af", SITES[number][3] / 1.6
    yield "captured", {"site": site, "problem": problem, "file": f"{label}.py",
                       "source": "import torch\n", "reproduced": True}  # fmt: skip
    wrong = failed("accuracy", "numeric", "error is 41.7 times the reference's own at [3, 17]")
    broken = failed("build", "build", "kernel.cpp:9: error: '_mm512_fmadd' was not declared")
    speeds = ((1.0, 1.62, 2.35), (1.1, 1.44, 1.71), (0.61, 0.74, 0.93), (1.2, 1.9, 2.6),
              (0.7, 0.88, 0.97))[number]  # fmt: skip
    tries = [("library", "pytorch", "F." + label.split()[-1], passed(speeds[0], 0.05, base_us)),
             ("inductor", "cpp", "generated C++", passed(speeds[1], 0.04, base_us)),
             ("template", "cpp", label, wrong), ("template", "cpp", label, broken),
             ("template", "cpp", label, passed(None)),
             ("template", "cpp", label, passed(speeds[2], 0.06, base_us))]  # fmt: skip
    ids = [f"{number}{order}c0ffee12ab" for order in range(len(tries))]
    won = {"vs_eager": ratio(speeds[2] * 1.6), "vs_compile": ratio(speeds[2])}
    for order, (proposer, backend, title, verdict) in enumerate(tries):
        yield "candidate", {"id": ids[order], "site": site, "problem": problem, "backend": backend,
                            "proposer": proposer, "label": title, "source": SOURCE,
                            "choices": {"unroll": 4, "tile": 64} if order > 1 else {},
                            "parent": ids[4] if order == 5 else None}  # fmt: skip
        yield "evaluated", {"candidate": ids[order], "problem": problem, "verdict": verdict}
    yield "tuned", {"site": site, "problem": problem, "trials": 24, "best": ids[-1]}
    if number in (0, 1, 3):
        yield "winner", {"site": site, "candidate": ids[-1], "problem": problem,
                         "proposer": "template", "backend": "cpp", **won}  # fmt: skip


def write_events(folder: Path, events: Iterator[tuple[str, Body]]) -> Path:
    with EventLog(folder) as log:
        for kind, body in events:
            log.append(kind, body)
    return folder


@pytest.fixture
def example_run(tmp_path: Path) -> Path:
    return write_events(tmp_path / "example", example_events())
