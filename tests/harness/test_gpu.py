"""On a real GPU: an honest kernel passes every stage, and what only a GPU makes possible fails.

Each test runs real kernels in plain PyTorch; none runs where PyTorch finds no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kernelite.harness import gpu_clocks, sanitizer, timer, trial
from kernelite.harness.cage import available
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.placement import Placement
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Passed, Ratio, Reason, Timing, Verdict
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU here"),
]

PROBLEM = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.randn(1024))

    def forward(self, x):
        return torch.softmax(x * self.scale, -1)


def get_inputs():
    return [torch.randn(512, 1024)]


def get_init_inputs():
    return []
"""
HONEST = """
import torch


class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1024))
        self.register_buffer("one", torch.ones(1), persistent=False)

    def forward(self, x):
        x = x * self.scale
        e = torch.exp(x - x.amax(-1, keepdim=True))
        return e * (self.one / e.sum(-1, keepdim=True))
"""
RIGHT = "torch.softmax(x * w, -1)"
SIDE = "side = torch.cuda.Stream()"
JUDGED = Effort(rounds=0, baselines=())
BEHIND_STATIC = Effort(rounds=0, baselines=(), stages=("build", "smoke", "accuracy", "probes"))
TIMED = Effort(rounds=30, seconds=3.0, baselines=("eager",))


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
    """A judge for a scaled softmax on the GPU."""
    with Judge(Problem("softmax", PROBLEM), server, 2, placement=placement) as made:
        yield made


def source(body: str, before: str = "") -> str:
    return f"import torch\n{before}\n\n\ndef run(x, w):\n    {body}\n"


def judged(judge: Judge, text: str, effort: Effort = JUDGED) -> Verdict:
    return judge.evaluate(Kernel("pytorch", text), effort, judge.placement.model)


def timed(judge: Judge, text: str) -> Timing | Failed:
    """The clock's finding on a kernel that no other stage has looked at."""
    kernel = Kernel("pytorch", text)
    job = Job(judge, kernel, TIMED, judge.placement.model, backend("pytorch").build(kernel))
    eager = judge.baseline("eager")
    assert not isinstance(eager, Exception)
    with job.runner as remote:
        return timer.compare(job, remote, {"eager": eager})


def of_eager(found: Timing | Failed) -> tuple[Timing, Ratio]:
    assert isinstance(found, Timing), found
    ratio = found.against("eager")
    assert ratio is not None
    return found, ratio


def test_cuda_starts_behind_every_wall_that_the_machine_offers(placement: Placement) -> None:
    assert set(available()) <= set(placement.layers)


def test_an_honest_kernel_passes_every_stage(judge: Judge) -> None:
    effort = Effort(rounds=30, seconds=2.0, baselines=("eager",), processes=2, replay=True)
    verdict = judged(judge, HONEST, effort)
    assert isinstance(verdict.evaluation, Passed), verdict.evaluation
    assert verdict.layers == judge.placement.layers
    timing = verdict.evaluation.timing
    assert timing is not None
    assert timing.device == judge.placement.model


def test_clocks_of_the_gpu_are_recorded_if_nvml_can_be_asked(judge: Judge) -> None:
    pytest.importorskip("pynvml")
    reading = gpu_clocks.read(judge.placement.pci)
    assert reading is not None
    assert reading.sm_mhz > 0
    timing, _ = of_eager(timed(judge, source(f"return {RIGHT}")))
    assert timing.gpu is not None


def test_a_sanitizer_that_is_installed_can_do_its_work(judge: Judge) -> None:
    if sanitizer.path() is None:
        pytest.skip("compute-sanitizer is not installed")
    verdict = judged(judge, HONEST)
    (stage,) = (stage for stage in verdict.stages if stage.name == "sanitizer")
    assert stage.status == "passed", stage.evidence


def test_a_kernel_against_itself_is_not_faster(judge: Judge) -> None:
    timing, ratio = of_eager(timed(judge, PROBLEM))
    assert timing.claim(ratio) != "faster"
    assert ratio.lower <= 1.15
    assert ratio.upper >= 1 / 1.15


def test_a_kernel_that_does_its_work_four_times_is_slower(judge: Judge) -> None:
    _, ratio = of_eager(timed(judge, source(f"return [{RIGHT} for _ in range(4)][-1]")))
    assert 0.05 < ratio.median < 0.7
    assert ratio.upper < 0.9


def test_work_on_a_side_stream_that_nobody_waits_for_counts_in_full(judge: Judge) -> None:
    body = f"""
    with torch.cuda.stream(side):
        [{RIGHT} for _ in range(8)]
    return {RIGHT}"""
    _, ratio = of_eager(timed(judge, source(body.strip(), SIDE)))
    assert ratio.upper < 0.9


def test_work_that_is_put_off_to_one_call_in_many_counts_in_full(judge: Judge) -> None:
    body = f"""
    calls.append(1)
    if len(calls) % 9 == 0:
        [{RIGHT} for _ in range(27)]
    return {RIGHT}"""
    _, ratio = of_eager(timed(judge, source(body.strip(), "calls = []")))
    assert ratio.median < 0.7


def test_work_ahead_of_a_call_is_work_on_other_inputs(judge: Judge) -> None:
    body = """
    seen[x.data_ptr()] = x
    ready = answers.get(x.data_ptr())
    answers.update({at: torch.softmax(y * w, -1) for at, y in seen.items()})
    return answers[x.data_ptr()] if ready is None else ready"""
    found = timed(judge, source(body.strip(), "seen, answers = {}, {}"))
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("timing", Reason.NUMERIC)


def test_another_current_stream_gains_nothing_and_is_refused(judge: Judge) -> None:
    text = source(f"torch.cuda.set_stream(side)\n    return {RIGHT}", SIDE)
    found = timed(judge, text)
    assert isinstance(found, Failed) or of_eager(found)[1].lower <= 1.15
    refused = judged(judge, text, BEHIND_STATIC).evaluation
    assert isinstance(refused, Failed)
    assert (refused.stage, refused.reason) == ("probes", Reason.LEAK)


def test_patched_events_change_no_time_and_are_refused(judge: Judge) -> None:
    before = """
torch.cuda.Event.elapsed_time = lambda *_: 1e-6
torch.cuda.Event.synchronize = torch.cuda.synchronize = lambda *_: None"""
    text = PROBLEM + before
    _, ratio = of_eager(timed(judge, text))
    assert ratio.lower <= 1.15
    assert ratio.upper >= 1 / 1.15
    found = judged(judge, text).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("static", Reason.FORBIDDEN)


@pytest.mark.parametrize("stream", ["torch.cuda.Stream()", "torch.cuda.default_stream()"])
def test_a_kernel_on_another_stream_than_the_current_one_is_refused(
    judge: Judge, stream: str
) -> None:
    body = f"with torch.cuda.stream(other):\n        return {RIGHT}"
    found = judged(judge, source(body, f"other = {stream}"), BEHIND_STATIC).evaluation
    assert isinstance(found, Failed)
    if "default" in stream:
        assert (found.stage, found.reason) == ("probes", Reason.STATE)


def test_a_kernel_on_a_side_stream_that_is_waited_for_is_right(judge: Judge) -> None:
    body = f"""
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = {RIGHT}
    torch.cuda.current_stream().wait_stream(side)
    return y"""
    verdict = judged(judge, source(body.strip(), SIDE), BEHIND_STATIC)
    assert verdict.passed, verdict.evaluation


def test_an_answer_that_is_written_later_is_refused(judge: Judge) -> None:
    before = f"{SIDE}\nlarge = torch.zeros(1 << 28, dtype=torch.uint8, device='cuda')"
    body = f"""
    y = torch.empty_like(x)
    with torch.cuda.stream(side):
        [large.add_(1) for _ in range(100)]
        y.copy_({RIGHT})
    return y"""
    found = judged(judge, source(body.strip(), before), BEHIND_STATIC).evaluation
    assert isinstance(found, Failed)
    assert found.reason is Reason.NUMERIC


def test_an_answer_left_in_freed_memory_is_not_found_again(judge: Judge) -> None:
    body = f"""
    if not known:
        known.append(1)
        return {RIGHT}
    return torch.empty_like(x)"""
    found = judged(judge, source(body.strip(), "known = []"), BEHIND_STATIC).evaluation
    assert isinstance(found, Failed)
    assert found.reason is Reason.NUMERIC


def test_an_answer_on_the_cpu_is_refused(judge: Judge) -> None:
    found = judged(judge, source(f"return ({RIGHT}).cpu()"), BEHIND_STATIC).evaluation
    assert isinstance(found, Failed)
    assert "an output is on cpu, not on cuda:0" in found.log


def test_too_much_of_the_gpus_memory_is_the_kernels_fault(judge: Judge) -> None:
    body = "return torch.empty(1 << 50, dtype=torch.uint8, device=x.device)"
    found = judged(judge, source(body), BEHIND_STATIC).evaluation
    assert isinstance(found, Failed)
    assert found.reason is Reason.MEMORY
