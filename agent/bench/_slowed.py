"""A kernel whose work is known: softmax with some rows computed twice."""

from __future__ import annotations

from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

ROWS, COLUMNS = 400, 256
EXTRA_ROWS = 12  # 3 % of the rows

PROBLEM = Problem(
    "softmax_400x256",
    f"""
import torch


class Model(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, -1)


def get_inputs():
    return [torch.randn({ROWS}, {COLUMNS})]


def get_init_inputs():
    return []
""",
)
SOURCE = """\
// kernelite: {"entry": "softmax",
//   "args": ["in0", "out0", "i64: in0.shape[0]", "i64: in0.shape[1]"]}
#include <cmath>
#include <cstdint>

static void softmax_row(const float* x, float* y, int64_t columns) {
  float largest = x[0], sum = 0;
  for (int64_t i = 1; i < columns; ++i) largest = x[i] > largest ? x[i] : largest;
  for (int64_t i = 0; i < columns; ++i) sum += y[i] = std::exp(x[i] - largest);
  for (int64_t i = 0; i < columns; ++i) y[i] /= sum;
}

extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows + EXTRA; ++row) {
    const int64_t place = row % rows * columns;
    softmax_row(x + place, y + place, columns);
  }
}
"""


def kernel(extra_rows: int) -> Kernel:
    """The kernel that computes so many rows a second time."""
    return Kernel("cpp", SOURCE.replace("EXTRA", str(extra_rows)))
