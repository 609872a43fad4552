"""What is said of a kernel that took too much memory; the judge here is one on the CPU."""

from __future__ import annotations

from kernelite.harness import smaller
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

EFFORT = Effort(rounds=0, baselines=(), stages=("build", "smoke"))
RIGHT = "def run(x, w):\n    return x @ w.T\n"


def told(server: Server, problem: Problem, source: str, fewest: int = 1) -> str:
    with Judge(problem, server, 1) as judge:
        return smaller.told(Job(judge, Kernel("pytorch", source), EFFORT, "cpu"), fewest)


def test_a_right_kernel_is_right_on_less_of_its_problem(server: Server, linear: Problem) -> None:
    assert told(server, linear, RIGHT).endswith("elements of inputs it is right")


def test_a_wrong_kernel_is_wrong_on_less_of_its_problem(server: Server, linear: Problem) -> None:
    text = told(server, linear, RIGHT.replace("x @", "2 * x @"))
    assert "elements of inputs it fails at smoke: drawn 0: " in text


def test_a_problem_that_cannot_be_what_fills_a_gpu_is_not_made_smaller(
    server: Server, linear: Problem
) -> None:
    assert "no smaller version" in told(server, linear, RIGHT, fewest=1 << 20)
