"""Triton on a real GPU: every family's template judged there, both ways to time, every failure.

None of it runs where PyTorch finds no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kernelite.harness import kernel_profile, timer, trial
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.placement import Placement
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Passed, Reason, Timing, Verdict
from kernelite.kernels import templates
from kernelite.kernels.kernel import Kernel
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.suites import families

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU here"),
]

PROBLEM = """
import torch

SHAPES = "general"


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, -1)


def get_inputs():
    return [torch.randn(512, 1000)]


def get_init_inputs():
    return []
"""
SOFTMAX = """\
import torch
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({}, num_warps=n) for n in (1, 4, 8)], key=["columns"])
@triton.jit
def softmax(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * columns
    c = tl.arange(0, BLOCK)
    v = tl.load(x + row + c, c < columns, float("-inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row + c, e / tl.sum(e, 0), c < columns)


def run(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        softmax[(x.shape[0],)](x, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
"""
SQUARE = """\
import torch
import triton
import triton.language as tl


@triton.jit
def square(x, y, n, TILE: tl.constexpr):
    i, total = tl.arange(0, TILE), tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, n, 64):
        k = start + tl.arange(0, 64)
        total += tl.dot(tl.load(x + i[:, None] * n + k), tl.load(x + k[:, None] * n + i))
    tl.store(y + i[:, None] * n + i, total)


def run(x):
    y = torch.empty_like(x)
    square[(1,)](x, y, 512, TILE=128, num_warps=8, num_stages=8)
    return y
"""
JUDGED = Effort(rounds=0, baselines=())
QUICK = Effort(rounds=0, baselines=(), thorough=False)
FIRST = Effort(rounds=0, baselines=(), stages=("build", "smoke"))
TIMED = Effort(rounds=30, seconds=2.0, baselines=("eager",), graphs=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own: its runners may hang in CUDA."""
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="module")
def placement(server: Server) -> Placement:
    """The first GPU, as far as it can be used from inside the cage."""
    return trial.placement(server, "cuda:0")


@pytest.fixture(scope="module")
def judge(server: Server, placement: Placement) -> Iterator[Judge]:
    """A judge for a softmax whose rows no power of two is as long as."""
    with Judge(Problem("softmax", PROBLEM), server, 2, placement=placement) as made:
        yield made


def judged(judge: Judge, source: str, effort: Effort = FIRST) -> Verdict:
    return judge.evaluate(Kernel("triton", source), effort, judge.placement.model)


def failed(judge: Judge, source: str) -> Failed:
    found = judged(judge, source).evaluation
    assert isinstance(found, Failed)
    return found


@pytest.mark.parametrize("name", families.names())
def test_a_familys_template_is_right_on_the_gpu(
    name: str, server: Server, placement: Placement
) -> None:
    small = families.family(name, "small")
    problem = small[len(small) // 2]
    instance = instantiate(problem, 0)
    plans = templates.plans(flat_graph(instance.model, instance.inputs), "triton")
    if not plans:
        pytest.skip("no template knows it")
    for _, plan in plans:
        kernel = plan.render({key: values[0] for key, values in plan.space.items()})
        with Judge(problem, server, 2, placement=placement) as judge:
            verdict = judge.evaluate(kernel, QUICK, placement.model)
        assert isinstance(verdict.evaluation, Passed), verdict.evaluation
        assert verdict.kind == "measured"


def test_an_autotuned_kernel_passes_every_stage_at_every_size(judge: Judge) -> None:
    verdict = judged(judge, SOFTMAX, JUDGED)
    assert isinstance(verdict.evaluation, Passed), verdict.evaluation
    stages = {stage.name: stage for stage in verdict.stages}
    assert stages["shapes"].status == "passed"
    assert verdict.layers == judge.placement.layers


def test_it_is_timed_in_both_ways(judge: Judge) -> None:
    job = Job(judge, Kernel("triton", SOFTMAX), TIMED, judge.placement.model)
    eager = judge.baseline("eager")
    assert not isinstance(eager, Exception)
    with job.runner as remote:
        found = timer.compare(job, remote, {"eager": eager})
    assert isinstance(found, Timing), found
    assert found.graph is not None, found.no_graph
    for timing in (found, found.graph):
        ratio = timing.against("eager")
        assert ratio is not None
        assert 0 < ratio.lower <= ratio.median <= ratio.upper
        assert ratio.candidate_us > 0


def test_work_that_a_graph_does_not_repeat_makes_its_replay_wrong_or_unknown(judge: Judge) -> None:
    source = SOFTMAX + "\n\ninside, seen = run, []\n\n\ndef run(x):\n"
    source += "    seen.append(x.clone().cpu())\n    return inside(x)\n"
    job = Job(judge, Kernel("triton", source), TIMED, judge.placement.model)
    eager = judge.baseline("eager")
    assert not isinstance(eager, Exception)
    with job.runner as remote:
        found = timer.compare(job, remote, {"eager": eager})
    assert isinstance(found, Timing), found
    assert found.graph is None
    assert found.no_graph.startswith("it cannot be captured: ")


def test_its_launches_are_told(judge: Judge) -> None:
    job = Job(judge, Kernel("triton", SOFTMAX), FIRST, judge.placement.model)
    with job.runner:
        found = kernel_profile.profile(job)
    assert found.no_launches == ""
    (launch,) = (one for one in found.launches if one.kernel.startswith("softmax"))
    assert (launch.count, launch.grid) == (1, (512, 1, 1))
    assert launch.us > 0
    assert bool(found.counters) != bool(found.no_counters)


def test_what_does_not_compile_names_its_line(judge: Judge) -> None:
    found = failed(judge, SOFTMAX.replace("tl.max(v, 0)", "tl.maxi(v, 0)"))
    assert (found.stage, found.reason) == ("build", Reason.BUILD)
    assert found.log.startswith("line 12: ")


def test_more_shared_memory_than_there_is_is_told(server: Server, placement: Placement) -> None:
    source = PROBLEM.replace("torch.softmax(x, -1)", "x @ x").replace("512, 1000", "512, 512")
    source = source.replace('SHAPES = "general"\n', "")
    with Judge(Problem("square", source), server, 2, placement=placement) as judge:
        found = failed(judge, SQUARE)
    assert (found.stage, found.reason) == ("build", Reason.RESOURCES)
    assert "of shared memory; the target has" in found.log


def test_an_illegal_access_is_a_crash_and_the_next_evaluation_knows_nothing_of_it(
    judge: Judge,
) -> None:
    found = failed(judge, SOFTMAX.replace("x + row + c, c < columns", "x + (row << 40) + c, c < 8"))
    assert found.reason is Reason.CRASH
    assert "illegal memory access" in found.log
    assert judged(judge, SOFTMAX).passed


def test_more_memory_than_there_is_is_told_and_never_a_pass(judge: Judge) -> None:
    greedy = "    torch.empty(1 << 50, dtype=torch.uint8, device=x.device)\n    x = x.contig"
    found = failed(judge, SOFTMAX.replace("    x = x.contig", greedy))
    assert found.reason is Reason.MEMORY


def test_code_that_follows_from_contents_is_not_compiled(
    server: Server, placement: Placement
) -> None:
    """What a build is called with looks like the inputs and holds something else."""
    problem = Problem("far", PROBLEM.replace("torch.randn(512", "1e3 + torch.randn(512"))
    source = SOFTMAX.replace("columns, BLOCK: tl", "columns, odd, BLOCK: tl")
    source = source.replace("x.shape[1], BLOCK", "x.shape[1], 16 + int(x[0, 0] > 500), BLOCK")
    with Judge(problem, server, 2, placement=placement) as judge:
        found = failed(judge, source)
    assert (found.stage, found.reason) == ("smoke", Reason.UNCOMPILED)
