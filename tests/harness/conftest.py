"""What tests of the harness share: one fork server, a problem, and kernels for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

LINEAR = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(32, 64))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight)


def get_inputs():
    return [torch.randn(48, 64)]


def get_init_inputs():
    return []
"""
RIGHT = """\
// kernelite: {"entry": "linear", "args": ["in0", "in1", "out0",
//   "i64: in0.shape[0]", "i64: in0.shape[1]", "i64: in1.shape[0]"]}
#include <cstdint>

extern "C" void linear(const float* x, const float* weight, float* y, int64_t rows, int64_t depth,
                       int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += x[r * depth + k] * weight[c * depth + k];
      y[r * columns + c] = sum;
    }
}
"""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One fork server for all tests that do not harm it."""
    started = Server()
    yield started
    started.close()


@pytest.fixture
def linear() -> Problem:
    """x @ weight.T with a weight of 32 x 64, of 48 rows."""
    return Problem("linear", LINEAR)


@pytest.fixture
def right() -> Kernel:
    """A C++ kernel that solves ``linear``."""
    return Kernel("cpp", RIGHT)


@pytest.fixture
def judge(server: Server, linear: Problem) -> Iterator[Judge]:
    """A judge for ``linear`` that waits five seconds at most."""
    with Judge(linear, server, threads=1, timeout_s=5.0) as made:
        yield made
