"""Problems made small for emulation."""

from __future__ import annotations

from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.shrink import shrunk

#: One axis is tied to a weight, so that no cut brings the inputs below 3 x 256 elements.
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(256))

    def forward(self, x):
        return x * self.weight


def get_inputs():
    return [torch.randn(64, 256)]


def get_init_inputs():
    return []
"""


def test_what_cannot_be_as_small_as_asked_is_as_small_as_it_can_be() -> None:
    (x,) = instantiate(shrunk(Problem("p", PROBLEM), 100), 0).inputs
    assert x.shape == (3, 256)


def test_what_was_made_small_can_be_made_small_again() -> None:
    twice = shrunk(shrunk(Problem("p", PROBLEM), 10_000), 100)
    made = instantiate(twice, 0)
    assert made.inputs[0].shape == (3, 256)
    assert made.run()[0].shape == (3, 256)
