"""What Inductor writes for GPUs that are not here: right under emulation, and it compiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache

import pytest

from kernelite.agent import tune
from kernelite.agent.proposers import NoPlans, inductor_gpu
from kernelite.harness import crosscompile
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Reason, Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import find
from kernelite.kernels.templates import Plan
from kernelite.problems.demands import Policy
from kernelite.problems.problem import Problem

pytest.importorskip("triton")
MODEL = """
import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        {state}

    def forward(self, x):
        return {body}


def get_inputs():
    return [{x}]


def get_init_inputs():
    return []
"""


def problem(name: str, body: str, x: str, state: str = "pass") -> Problem:
    return Problem(name, MODEL.format(body=body, x=x, state=state))


# A parameter, a table outside the state, an index and rows that are longer than one block.
NORM = problem(
    "norm",
    "F.layer_norm(x, x.shape[-1:], self.weight) * self.table[x.argmax(-1) % 3][:, None]",
    "torch.randn(96, 600)",
    "self.weight = torch.nn.Parameter(torch.randn(600));"
    " self.register_buffer('table', torch.tensor([0.5, 1.5, -2.0]), persistent=False)",
)
FUNCTIONS = problem(
    "functions",
    "(torch.tanh(x), torch.expm1(x), torch.log1p(x.abs()), x.abs() ** 1.7, torch.round(3 * x),"
    " x.amin(0), x.prod(-1), (x > 2).any(-1), torch.softmax(x, -1), x.var(0))",
    "3 * torch.randn(5, 40)",
)
LAYER = problem(
    "layer", "torch.relu(self.layer(x))", "torch.randn(3, 32, 160)",
    "self.layer = torch.nn.Linear(160, 128)",
)  # fmt: skip
SORT = problem("sort", "torch.sort(x, dim=-1)", "torch.randn(8, 40)")


@cache
def plans(of: Problem, target: str) -> Sequence[Plan]:
    return inductor_gpu.PROPOSER.propose(of, find(target))


def kernels(of: Problem, target: str = "h200") -> dict[str, Kernel]:
    """Each plan's first kernel by its label."""
    return {plan.label: plan.render(tune.default_choices(plan)) for plan in plans(of, target)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server()) as started:
        yield started


def judged(server: Server, of: Problem, kernel: Kernel, policy: Policy | None = None) -> Verdict:
    """By the stages that a search asks first, or by the policy's alone."""
    stages = ("policy",) if policy else ()
    effort = Effort(
        rounds=0, baselines=(), policy=policy, thorough=policy is not None, stages=stages
    )
    with Judge(of, server, 1) as judge:
        return judge.evaluate(kernel, effort, "cpu")


def test_a_kernel_for_any_sizes_is_right_at_small_ones(server: Server) -> None:
    kernel = kernels(NORM)["inductor"]
    assert not kernel.fixed_sizes
    verdict = judged(server, NORM, kernel)
    assert (verdict.passed, verdict.kind) == (True, "emulated"), verdict.evaluation


def test_a_kernel_for_sizes_too_large_to_emulate_is_neither_right_nor_wrong(server: Server) -> None:
    kernel = kernels(NORM)["inductor, own sizes"]
    found = judged(server, NORM, kernel).evaluation
    assert isinstance(found, Failed)
    assert found.reason == Reason.UNSUPPORTED
    assert "57,600 elements are too many" in found.log


def test_our_functions_are_as_exact_as_the_libraries(server: Server) -> None:
    for kernel in kernels(FUNCTIONS).values():
        verdict = judged(server, FUNCTIONS, kernel)
        assert verdict.passed, verdict.evaluation


def test_a_librarys_product_is_marked_and_refused_where_a_policy_is_strict(server: Server) -> None:
    kernel = kernels(LAYER)["inductor"]
    assert "# library: aten.mm" in kernel.source
    assert judged(server, LAYER, kernel, Policy.FUSED).passed
    found = judged(server, LAYER, kernel, Policy.STRICT).evaluation
    assert isinstance(found, Failed)
    assert found.reason == Reason.POLICY


def test_a_product_has_a_kernel_of_its_own_for_each_tile(server: Server) -> None:
    plan = next(p for p in plans(LAYER, "h200") if "templates" in p.label)
    rendered = {
        t: plan.render({**tune.default_choices(plan), "tile": t}) for t in ("64x64", "32x32")
    }
    assert rendered["64x64"].source != rendered["32x32"].source
    for kernel in rendered.values():
        assert judged(server, LAYER, kernel).passed
    assert judged(server, LAYER, rendered["32x32"], Policy.STRICT).passed


def test_other_options_of_a_launch_change_the_launch_alone() -> None:
    plan = plans(NORM, "h200")[0]
    name, (default, other, *_) = next(iter(plan.space.items()))
    texts = [plan.render({**tune.default_choices(plan), name: o}).source for o in (default, other)]
    changed = [pair for pair in zip(*map(str.splitlines, texts), strict=True) if len(set(pair)) > 1]
    assert changed == [(f"{name} = dict({default})", f"{name} = dict({other})")]


def test_what_is_written_for_a_target_compiles_for_it_at_the_real_sizes() -> None:
    with closing(crosscompile.server()) as server:
        for target in ("h200", "mi300x"):
            for kernel in kernels(NORM, target).values():
                report = crosscompile.crosscompile(server, kernel, NORM, [find(target)])
                compiled = report.targets[0].compiled
                assert compiled.trouble is None
                assert [c.trouble for c in compiled.configurations if c.trouble] == []


def test_a_function_that_we_lack_is_a_reason_and_no_crash() -> None:
    found = plans(SORT, "h200")
    assert isinstance(found, NoPlans)
    assert not found
    assert found.reason.startswith("no seed: ")
    assert "triton_helpers.sort_with_index" in found.reason


def test_another_version_of_torch_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor_gpu, "VERSIONS", ("1.13",))
    found = inductor_gpu.PROPOSER.propose(NORM, find("h200"))
    assert isinstance(found, NoPlans)
    assert "there is: 1.13" in found.reason


def test_for_this_cpu_there_is_nothing() -> None:
    assert inductor_gpu.PROPOSER.propose(NORM) == []
