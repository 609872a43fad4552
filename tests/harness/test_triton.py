"""Triton without a GPU: what the interpreter adds, and what a judge makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Reason, Verdict
from kernelite.kernels.backends import backend, backend_of
from kernelite.kernels.kernel import Kernel, NotInterpretable
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.shrink import shrunk

pytest.importorskip("triton")
NO_TIMING = Effort(rounds=0, baselines=())
PROBLEM = """
import torch

rows, inner, columns = 256, 96, 64
dtype = torch.{dtype}


class Model(torch.nn.Module):
    def forward(self, x, w):
        return {body}


def get_inputs():
    return [torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)]


def get_init_inputs():
    return []
"""
PRODUCT = """
import torch
import triton
import triton.language as tl


@triton.autotune(configs=[{configs}], key=[])
@triton.jit
def product(x, w, y, rows, inner, columns, TILE: tl.constexpr, STEP: tl.constexpr):
    r = tl.program_id(0) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, inner, STEP):
        k = start + tl.arange(0, STEP)
        a = tl.load(x + r[:, None] * inner + k, (r[:, None] < rows) & (k < inner), 0.0)
        b = tl.load(w + k[:, None] * columns + c, (k[:, None] < inner) & (c < columns), 0.0)
        total += tl.dot(a, b)
    inside = (r[:, None] < rows) & (c < columns)
    tl.store(y + r[:, None] * columns + c, total.to(y.dtype.element_ty), inside)


class ModelNew(torch.nn.Module):
    def forward(self, x, w):
        assert x.is_cuda and w.device.type == "cuda"
        x, w = x.contiguous(), w.contiguous()
        y = torch.empty(x.shape[0], w.shape[1], dtype=x.dtype, device="cuda")
        tiles = lambda n, meta: triton.cdiv(n, meta["TILE"])
        grid = lambda meta: (tiles(x.shape[0], meta), tiles(w.shape[1], meta))
        product[grid](x, w, y, *x.shape, w.shape[1])
        return y
"""
BRANCHING = """if (a > b) | (a != a):
        return a
    else:
        return b"""
LARGEST = """
import torch
import triton
import triton.language as tl


@triton.jit
def larger(a, b):
    {body}


@triton.jit
def largest(x, y, columns, TILE: tl.constexpr):
    c = tl.arange(0, TILE)
    row = tl.load(x + tl.program_id(0) * columns + c, c < columns, float("-inf"))
    tl.store(y + tl.program_id(0), tl.reduce(row, 0, larger))


def run(x, w):
    y, z = x.new_empty(x.shape[0]), x.new_empty(1)
    x, w = x.contiguous(), w.contiguous()
    largest[(x.shape[0],)](x, y, x.shape[1], TILE=triton.next_power_of_2(x.shape[1]))
    largest[(1,)](w, z, w.numel(), TILE=triton.next_power_of_2(w.numel()))
    return y + z
"""
CONFIGS = 'triton.Config({"TILE": 16, "STEP": 16}), triton.Config({"TILE": 32, "STEP": 16})'


def judged(server: Server, source: str, dtype: str = "float32", body: str = "x @ w") -> Verdict:
    problem = Problem("product", PROBLEM.format(dtype=dtype, body=body))
    with Judge(problem, server, 1) as judge:
        return judge.evaluate(Kernel("triton", source), NO_TIMING, "cpu")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_right_kernel_passes_every_stage_in_each_dtype(server: Server, dtype: str) -> None:
    verdict = judged(server, PRODUCT.replace("{configs}", CONFIGS), dtype)
    assert verdict.passed, verdict.evaluation
    assert verdict.kind == "emulated"
    assert verdict.isolation == 4 or verdict.layers


def test_a_kernel_that_leaves_out_a_remainder_is_refused(server: Server) -> None:
    wrong = PRODUCT.replace("range(0, inner, STEP)", "range(0, inner - STEP + 1, STEP)")
    found = judged(server, wrong.replace("{configs}", CONFIGS)).evaluation
    assert isinstance(found, Failed)


def test_a_configuration_that_is_wrong_is_found_though_another_one_is_right(server: Server) -> None:
    configs = CONFIGS + ', triton.Config({"TILE": 16, "STEP": 16}, pre_hook=spoil)'
    spoiling = "def spoil(arguments):\n    arguments['x'].zero_()\n\n\n@triton.autotune"
    wrong = PRODUCT.replace("{configs}", configs).replace("@triton.autotune", spoiling)
    found = judged(server, wrong).evaluation
    assert isinstance(found, Failed)


def test_a_load_outside_the_tensor_is_a_crash_or_a_wrong_answer(server: Server) -> None:
    wrong = PRODUCT.replace("x + r[:, None] * inner + k", "x + r[:, None] * inner + k + 1000000000")
    wrong = wrong.replace("(r[:, None] < rows) & (k < inner), 0.0", "(k < inner)[None, :], 0.0")
    found = judged(server, wrong.replace("{configs}", CONFIGS)).evaluation
    assert isinstance(found, Failed)
    assert found.reason == Reason.CRASH
    assert "SIGSEGV" in found.log


@pytest.mark.parametrize(
    "line",
    [
        "x = tl.inline_asm_elementwise('mov', '=r,r', [x], tl.int32, True, 1)",
        "x = tl.extra.cuda.libdevice.tanh(x)",
        "x = x.to(tl.float8e4nv)",
    ],
)
def test_what_the_interpreter_cannot_tell_is_neither_right_nor_wrong(
    server: Server, line: str
) -> None:
    source = PRODUCT.replace("{configs}", CONFIGS).replace(
        "    inside =", f"    {line}\n    inside ="
    )
    found = judged(server, source).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("build", Reason.UNSUPPORTED)
    assert "line 18: " in found.log
    with pytest.raises(NotInterpretable):
        backend("triton").build(Kernel("triton", source))


@pytest.mark.parametrize("body", ["return tl.where((a > b) | (a != a), a, b)", BRANCHING])
def test_a_reduction_by_a_function_of_its_own_is_right(server: Server, body: str) -> None:
    source = LARGEST.replace("{body}", body)
    verdict = judged(server, source, body="x.amax(-1) + w.amax()")
    assert verdict.passed, verdict.evaluation


def test_a_source_without_a_kernel_is_none(server: Server) -> None:
    found = judged(server, "import triton\n\ndef run(x, w):\n    return x @ w\n").evaluation
    assert isinstance(found, Failed)
    assert found.reason == Reason.BUILD
    assert "no @triton.jit kernel" in found.log


def test_a_file_that_imports_triton_is_its_backends() -> None:
    assert backend_of(Path("a.py"), "import torch\nimport triton.language as tl\n") == "triton"
    assert backend_of(Path("a.py"), "import torch\n# import triton\n") == "pytorch"


def test_a_problem_is_made_small_in_its_numbers_and_its_axes() -> None:
    problem = Problem("product", PROBLEM.format(dtype="float32", body="x @ w"))
    x, w = instantiate(shrunk(problem, 1024), 0).inputs
    assert x.numel() + w.numel() <= 1024
    assert x.shape[1] == w.shape[0]
    assert shrunk(problem, 1 << 20) is problem


def test_an_axis_that_the_reference_needs_stays_as_long_as_it_is() -> None:
    problem = Problem("product", PROBLEM.format(dtype="float32", body="(x @ w).reshape(rows, -1)"))
    (x, _) = instantiate(shrunk(problem, 64), 0).inputs
    assert x.shape[0] == 16  # what the number at the top was divided to
    assert torch.is_tensor(x)


def test_a_small_problem_that_is_worthless_says_nothing_about_the_whole_one(server: Server) -> None:
    source = PROBLEM.format(dtype="float32", body="(x @ w) * (x.shape[0] > 100)")
    right = "def run(x, w):\n    return x @ w\n"
    with Judge(Problem("product", source), server, 1) as judge:
        emulated = judge.evaluate(
            Kernel("triton", PRODUCT.replace("{configs}", CONFIGS)), NO_TIMING, "cpu"
        )
        assert isinstance(emulated.evaluation, Failed)
        assert emulated.evaluation.reason == Reason.DEGENERATE
        assert judge.evaluate(Kernel("pytorch", right), NO_TIMING, "cpu").passed
