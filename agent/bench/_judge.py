"""What one judgement costs without timing, for a problem so small that nothing else counts."""

from __future__ import annotations

import time
from typing import Any

from kernelite.errors import MachineError
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

PROBLEM = Problem(
    "softmax_64x64",
    """
import torch


class Model(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, -1)


def get_inputs():
    return [torch.randn(64, 64)]


def get_init_inputs():
    return []
""",
)
KERNEL = Kernel(
    "cpp",
    """\
// kernelite: {"entry": "softmax",
//   "args": ["in0", "out0", "i64: in0.shape[0]", "i64: in0.shape[1]"]}
#include <cmath>
#include <cstdint>

extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row, x += columns, y += columns) {
    float largest = x[0], sum = 0;
    for (int64_t i = 1; i < columns; ++i) largest = x[i] > largest ? x[i] : largest;
    for (int64_t i = 0; i < columns; ++i) sum += y[i] = std::exp(x[i] - largest);
    for (int64_t i = 0; i < columns; ++i) y[i] /= sum;
  }
}
""",
)
NO_TIMING = Effort(rounds=0, baselines=(), thorough=False)
SECONDS = 3.0


def measure(server: Server, device: str) -> dict[str, Any]:
    """Evaluations per second with the kernel built and the problem known to the judge.

    Raises:
        MachineError: the judge refuses the kernel, so there is nothing to measure.
    """
    with Judge(PROBLEM, server, 1) as judge:
        first = judge.evaluate(KERNEL, NO_TIMING, device)
        if not first.passed:
            raise MachineError(f"the judge refuses a right softmax: {first.evaluation}")
        started, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < SECONDS:
            judge.evaluate(KERNEL, NO_TIMING, device)
            count += 1
    return {"problem": PROBLEM.name, "evaluations": count, "seconds": spent,
            "evaluations_per_second": count / spent, "isolation": first.isolation}  # fmt: skip
