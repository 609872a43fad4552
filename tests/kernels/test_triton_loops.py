from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.harness import crosscompile
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Verdict
from kernelite.kernels.targets import find
from kernelite.kernels.templates import Choice
from kernelite.kernels.triton_templates import _loops_shape
from kernelite.kernels.triton_templates.loops import TEMPLATE, LoopsPlan
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.suites import families

pytest.importorskip("triton")
EVERY_STAGE = Effort(rounds=0, baselines=())
RIGHT = Effort(rounds=0, baselines=(), stages=("build", "smoke", "accuracy"))
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return {body}


def get_inputs():
    return [torch.randn({shape})]


def get_init_inputs():
    return []
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


class Model(nn.Module):
    """A function of tensors and of two parameters of one row's length."""

    def __init__(self, function: Callable[..., Any], columns: int = 1) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.randn(columns), requires_grad=False)
        self.b = nn.Parameter(torch.randn(columns), requires_grad=False)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def planned(problem: Problem) -> LoopsPlan:
    instance = instantiate(problem, 0)
    plan = TEMPLATE.match(flat_graph(instance.model, instance.inputs))
    assert plan is not None
    return plan


def workload(family: str, start: str) -> Problem:
    """The first workload of a family whose name begins so."""
    return families.family(family, start)[0]


def judged(server: Server, problem: Problem, effort: Effort, **choices: Choice) -> Verdict:
    with Judge(problem, server, 1) as judge:
        return judge.evaluate(planned(problem).render(choices), effort, "cpu")


def reading(source: str, argument: str) -> int:
    """How many kernels read or write ``argument``."""
    heads = [line for line in source.splitlines() if line.startswith("def kernel")]
    return sum(argument in head.partition("(")[2].rstrip("):").split(", ") for head in heads)


MATCHED: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "rms_norm": (lambda m, x: F.rms_norm(x, x.shape[-1:], m.w, 1e-6), (3, 8)),
    "add + rms_norm": (lambda m, x: F.rms_norm(x + m.b, x.shape[-1:], m.w, 1e-6), (3, 8)),
    "layer_norm": (lambda m, x: F.layer_norm(x, x.shape[-1:], m.w, m.b), (2, 3, 8)),
    "group_norm": (lambda m, x: F.group_norm(x, 2, m.w, m.b), (2, 8, 3, 3)),
    "softmax": (lambda m, x: torch.softmax(x, -1), (3, 8)),
    "swiglu": (lambda m, x: F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], (3, 16)),
    "elementwise chain: add, gelu": (lambda m, x: F.gelu(x + m.b), (3, 8)),
    "rotary embedding": (
        lambda m, x: x * m.w + torch.cat((-x[..., 4:], x[..., :4]), -1) * m.b, (3, 8)
    ),
    "sum": (lambda m, x: x.sum(0), (3, 8)),
}  # fmt: skip


@pytest.mark.parametrize("label", MATCHED)
def test_a_family_is_recognised_by_its_graph(label: str) -> None:
    function, shape = MATCHED[label]
    plan = TEMPLATE.match(flat_graph(Model(function, 8).eval(), [torch.randn(shape)]))
    assert plan is not None
    assert plan.label == label
    assert plan.render({}).source.startswith(f"# {label}: float32 {list(shape)}, ")


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x @ x,
        lambda m, x: x.cumsum(-1),
        lambda m, x: x.sort(-1).values,
        lambda m, x: x ** x,
        lambda m, x: x.double().sum(-1),
        lambda m, x: x + torch.rand_like(x),
        lambda m, x: F.dropout(x, 0.5, training=True),
        lambda m, x: torch.softmax(x, -1) @ x,
        lambda m, x: x[x.argmax(-1)],
    ],
)  # fmt: skip
def test_what_has_no_exact_text_in_triton_is_refused(function: Callable[..., Any]) -> None:
    assert TEMPLATE.match(flat_graph(Model(function).eval(), [torch.randn(7, 7)])) is None


@pytest.mark.parametrize(
    ("family", "start"),
    [
        ("add_rms_norm", "small_3x17_float16"),
        ("layer_norm_backward", "small_9x31_bfloat16"),
        ("group_norm_backward", "small_2x6x3x3_float32"),
        ("bias_activation_backward", "small_gelu_3x17_float16"),
        ("rotary_interleaved", "small_1x2x5x16_bfloat16"),
        ("column_reductions", "small_27x33_float16"),
    ],
)
def test_a_family_passes_every_stage(server: Server, family: str, start: str) -> None:
    verdict = judged(server, workload(family, start), EVERY_STAGE)
    assert verdict.passed, verdict.evaluation
    assert verdict.kind == "emulated"


@pytest.mark.parametrize(
    ("family", "start", "choices"),
    [
        ("softmax", "small_9x100_float32", {"row_tile": 256}),
        ("geglu", "small_tanh_3x17_float16", {"block": 16}),
        ("column_reductions", "small_100x9_float32", {"lanes": 4, "depth": 16}),
        ("rms_norm_backward", "small_15x31_float32", {"row_tile": 64, "programs": 2}),
    ],
)
def test_small_tiles_give_the_same_answer(
    server: Server, family: str, start: str, choices: dict[str, Choice]
) -> None:
    verdict = judged(server, workload(family, start), RIGHT, **choices)
    assert verdict.passed, verdict.evaluation


def test_a_row_longer_than_a_block_is_walked_in_chunks(server: Server) -> None:
    problem = workload("layer_norm", "small_1x300_float32")
    plan = planned(problem)
    assert plan.render({}).source.count("tl.load(in0 + column") == 1
    walked = plan.render({"chunk": 64, "whole": False}).source
    assert walked.count("in tl.range(0, 300, 64):") == walked.count("tl.load(in0 + column") == 3
    verdict = judged(server, problem, RIGHT, chunk=64, whole=False)
    assert verdict.passed, verdict.evaluation


def test_the_sum_of_exponentials_follows_the_maximum_in_one_pass(server: Server) -> None:
    body = "torch.softmax(x * 20, -1), torch.log_softmax(x, 0)"
    problem = Problem("softmax", PROBLEM.format(body=body, shape="3, 300"))
    small: dict[str, Choice] = {"chunk": 64, "whole": False, "lanes": 32, "depth": 2}
    source = planned(problem).render(small).source
    assert source.count("in tl.range(0, 300, 64):") == 2
    verdict = judged(server, problem, EVERY_STAGE, **small)
    assert verdict.passed, verdict.evaluation


def test_interleaved_pairs_are_read_and_stored_as_runs_of_memory() -> None:
    problem = workload("rotary_interleaved", "large_2x32x1024x128_float16")
    source = planned(problem).render({}).source
    assert source.count("tl.load(in0 ") == source.count("tl.store(out0 ") == 1


@pytest.mark.parametrize("seed", [5, 9])
def test_a_row_of_equal_values_is_normalised_to_nothing_but_rounding(
    server: Server, seed: int
) -> None:
    problem = workload("layer_norm", "small_1x300_float32")
    stable = Effort(rounds=0, baselines=(), stages=("build", "smoke", "stability"))
    with Judge(problem, server, 1, seed=seed) as judge:  # whose values a plain mean misses
        verdict = judge.evaluate(planned(problem).render({}), stable, "cpu")
    assert verdict.passed, verdict.evaluation


def test_few_long_rows_are_split_over_programs(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(workload("rms_norm", "large_16x131072")).render({}).source.count("@tri") == 3
    monkeypatch.setattr(_loops_shape, "LEAST_COLUMNS", 64)
    problem = workload("row_reductions", "small_1x500_float32")
    assert "scratch0 = torch.empty((5,)" in planned(problem).render({}).source
    verdict = judged(server, problem, RIGHT)
    assert verdict.passed, verdict.evaluation


def test_sums_over_many_rows_of_few_columns_are_split_over_programs(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loops_shape, "LEAST_ROWS", 16)
    problem = workload("column_reductions", "small_100x9_float32")
    assert "scratch0 = torch.empty((5, 9)" in planned(problem).render({}).source
    verdict = judged(server, problem, RIGHT)
    assert verdict.passed, verdict.evaluation


def test_gradients_of_a_norm_read_its_input_once() -> None:
    source = planned(workload("layer_norm_backward", "large_8192x4096_float16")).render({}).source
    assert reading(source, "in0") == reading(source, "in2") == 1
    assert source.count("_sum = tl.full(") == 2


def test_the_sum_that_is_a_bias_gradient_stores_what_it_sums() -> None:
    problem = workload("bias_activation_backward", "large_gelu_8192x3072_float16")
    assert reading(planned(problem).render({}).source, "in0") == 1


def test_functions_that_triton_lacks_are_nearly_as_exact_as_those_of_torch(server: Server) -> None:
    names = ("expm1", "tanh", "erf", "sigmoid", "sin", "cos", "round", "trunc")
    near = "(0.3 + 0.1 * x.sigmoid())"  # where a series takes over, and where differences cancel
    body = ", ".join(f"torch.{name}(x)" for name in names)
    body += (
        f", torch.tanh{near}, torch.expm1({near} / 99), torch.log1p({near} / 99), torch.log1p{near}"
    )
    verdict = judged(server, Problem("functions", PROBLEM.format(body=body, shape=600)), RIGHT)
    assert verdict.passed, verdict.evaluation


def test_rows_beyond_the_last_are_in_no_sum(server: Server) -> None:
    body = "(lambda p: (p, p.sum(0)))(torch.softmax(x, -1))"
    problem = Problem("shares", PROBLEM.format(body=body, shape="37, 20"))
    source = planned(problem).render({"row_tile": 256}).source
    assert reading(source, "in0") == 1
    verdict = judged(server, problem, RIGHT, row_tile=256)
    assert verdict.passed, verdict.evaluation


def test_extremes_and_logic_over_rows_and_columns(server: Server) -> None:
    body = ("x.amax(-1), x.amin(0), (x > 0).any(-1), (x > -2).all(0), x.prod(-1), "
            "(x > 0).sum(-1), torch.where(x > 0, x, -1)")  # fmt: skip
    problem = Problem("extremes", PROBLEM.format(body=body, shape="7, 20"))
    verdict = judged(server, problem, EVERY_STAGE)
    assert verdict.passed, verdict.evaluation


def test_a_transposed_input_is_read_where_it_lies(server: Server) -> None:
    source = PROBLEM.format(body="torch.softmax(x, -1)", shape="30, 20")
    problem = Problem("transposed", source.replace("30, 20)]", "30, 20).mT]"))
    assert "row + column0 * 20" in planned(problem).render({}).source
    verdict = judged(server, problem, EVERY_STAGE)
    assert verdict.passed, verdict.evaluation


@pytest.fixture(scope="module")
def compilers() -> Iterator[Server]:
    started = crosscompile.server()
    yield started
    started.close()


@pytest.mark.parametrize(
    ("family", "start"),
    [("softmax", "large_1024x32768_float16"), ("rms_norm_backward", "large_8192x8192_float16")],
)
def test_large_shapes_compile_without_spills(compilers: Server, family: str, start: str) -> None:
    problem = workload(family, start)
    targets = [find("sm_90"), find("gfx942")]
    kernel = planned(problem).render({})
    for one in crosscompile.crosscompile(compilers, kernel, problem, targets).targets:
        assert one.compiled.trouble is None
        for made in one.compiled.configurations:
            assert (made.trouble, made.binary.spill_store_bytes) == (None, 0)
