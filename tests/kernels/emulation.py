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


def graph_for(problem: Problem) -> fx.GraphModule:
    """The flat graph of a problem."""
    made = instantiate(problem, 0)
    return flat_graph(made.model, made.inputs)


def rendered(template: Template, graph: fx.GraphModule, **choices: Choice) -> Kernel:
    """The template's kernel for a graph that it must match, by default with its first choices."""
    plan = template.match(graph)
    assert plan is not None, "no plan"
    return plan.render({name: values[0] for name, values in plan.space.items()} | choices)


def verdict(problem: Problem, kernel: Kernel) -> Verdict:
    """What the judge says of a kernel: every stage but timing, nothing computed by PyTorch."""
    with Judge(problem, server(), 1) as judge:
        return judge.evaluate(kernel, NO_TIMING, "cpu")


def accepted(template: Template, name: str, **choices: Choice) -> None:
    """Have the kernel of a family's workload judged; it must pass."""
    problem = named(name)
    found = verdict(problem, rendered(template, graph_for(problem), **choices))
    assert found.passed, found.evaluation


@cache
def server() -> Server:
    """One for all tests of templates."""
    started = Server()
    atexit.register(started.close)
    return started
