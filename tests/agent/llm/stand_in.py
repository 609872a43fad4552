"""``stand_in.py FOLDER``: answers its questions as a model would that knows one problem.

The problem is y = x + r and its RMS norm, in C++.  It plans two ideas.  The first
answer to one of them forgets an output, and is mended when that is said; the first
to the other is prose, and then code.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

FIRST, SECOND = "fused rows", "two passes"
PLAN = [
    {"name": FIRST, "change": "add and norm in one pass over each row", "bound": "memory",
     "effect": {"what": "bytes", "before": 1.2e7, "after": 4.2e6}, "risk": "the second output"},
    {"name": SECOND, "change": "add, then norm"},
]  # fmt: skip
KERNEL = """// kernelite: {"entry": "add_norm", "args": ["in0", "in1", "in2", "out0", "out1",
//   "i64: in0.numel // in0.shape[-1]", "i64: in0.shape[-1]"]}
#include <cmath>
#include <cstdint>

extern "C" void add_norm(const float* __restrict x, const float* __restrict r,
                         const float* __restrict w, float* __restrict sum, float* __restrict y,
                         int64_t rows, int64_t n) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const float *a = x + row * n, *b = r + row * n;
    float *s = sum + row * n, *out = y + row * n;
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; ++i) {
      const float value = a[i] + b[i];
      s[i] = value;
      squares += value * value;
    }
    const float scale = 1 / std::sqrt(squares / n + 1e-6f);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = w[i] * (s[i] * scale);
  }
}
"""
FORGETFUL = KERNEL.replace("out[i] = w[i] * (s[i] * scale);", "out[i] = s[i] * scale * 2;")
STATIC = KERNEL.replace("schedule(static)", "schedule(dynamic, 32)")


def fenced(source: str) -> str:
    return f"Memory bound; one pass.\n\n```cpp\n{source}```\n"


def answer(purpose: str, prompt: str) -> str:
    """What it says to one question."""
    match purpose:
        case "plan":
            return f"```json\n{json.dumps(PLAN)}\n```"
        case "generate" if "could not be used" in prompt:
            return fenced(KERNEL.replace("add_norm", "two_passes"))
        case "generate":
            return fenced(FORGETFUL) if f"\n{FIRST}:" in prompt else "I would fuse both loops."
        case "repair":
            return fenced(KERNEL)
        case _:
            return fenced(STATIC)


def main(folder: Path) -> None:
    """Answer whatever comes until killed."""
    while True:
        for path in folder.glob("*.prompt.md"):
            name = path.name.removesuffix(".prompt.md")
            final = folder / f"{name}.answer.md"
            if not final.exists():
                half = folder / f"{name}.half"
                half.write_text(answer(name.partition("-")[0], path.read_text()))
                os.replace(half, final)
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
