"""Kernels of Triton templates before the judge, who has them emulated."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor, fx, nn

from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.templates import Choice, Template
from kernelite.problems.demands import Policy
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.suites import families

NO_TIMING = Effort(rounds=0, baselines=(), policy=Policy.STRICT)


class Model(nn.Module):
    """A function of tensors as a model."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def graph_of(function: Callable[..., Any], *inputs: Tensor) -> fx.GraphModule:
    """The flat graph of a function of tensors."""
    return flat_graph(Model(function).eval(), inputs)


def named(name: str) -> Problem:
    """A workload of a family: ``gemm@small_3x5_float32``."""
    (found,) = (p for p in families.family(name.partition("@")[0]) if p.name == name)
    return found


def rendered(template: Template, problem: Problem, **choices: Choice) -> Kernel:
    """The template's kernel for a problem, which it must match."""
    made = instantiate(problem, 0)
    plan = template.match(flat_graph(made.model, made.inputs))
    assert plan is not None, f"{problem.name} is not matched"
    return plan.render(choices)


def verdict(problem: Problem, kernel: Kernel) -> Verdict:
    """What the judge says of a kernel: every stage but timing, nothing computed by PyTorch."""
    with Judge(problem, _server(), 1) as judge:
        return judge.evaluate(kernel, NO_TIMING, "cpu")


def check(template: Template, name: str, **choices: Choice) -> None:
    """Have the kernel of a family's workload judged; it must pass."""
    problem = named(name)
    found = verdict(problem, rendered(template, problem, **choices))
    assert found.passed, found.evaluation


@cache
def _server() -> Server:
    started = Server()
    atexit.register(started.close)
    return started
