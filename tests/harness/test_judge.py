"""The judge's decision on whole kernels, and that no kernel outlives it or spoils the next."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from kernelite.errors import MachineError, UsageError
from kernelite.harness.cage import LAYERS, available
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Remote, Server
from kernelite.harness.verdict import Failed, Passed, Reason, Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

NO_TIMING = Effort(rounds=0, baselines=())
STAGES = [
    "admission", "static", "build", "smoke", "shapes", "dtypes", "accuracy", "stability",
    "determinism", "edges", "probes", "policy", "gradients", "sanitizer", "timing", "light",
    "replay",
]  # fmt: skip
NOT_ASKED = {"shapes", "dtypes", "policy", "gradients", "sanitizer", "timing", "light", "replay"}
RUN = """
import torch


def run(x, weight):
    BODY
    return torch.nn.functional.linear(x, weight)
"""
MODEL_NEW = """
import torch


class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(32, 64))

    def forward(self, x):
        return x @ self.weight.t()
"""
HEAD = "// kernelite: "
SPEC = '{"entry": "linear", "args": ["in0", "in1", "out0"]}\n'
BODY = '#include <cstdlib>\nextern "C" void linear(const float* x, const float* w, float* y) {'


def run(body: str = "") -> Kernel:
    """The right answer in PyTorch, with a line before it."""
    return Kernel("pytorch", RUN.replace("BODY", body or "pass"))


def native(body: str) -> Kernel:
    return Kernel("cpp", f"{HEAD}{SPEC}{BODY} {body} }}\n")


def verdict(judge: Judge, kernel: Kernel) -> Verdict:
    return judge.evaluate(kernel, NO_TIMING, "cpu")


def failure(judge: Judge, kernel: Kernel) -> Failed:
    found = verdict(judge, kernel).evaluation
    assert isinstance(found, Failed), "it passed"
    return found


def test_a_right_kernel_passes_in_each_form(judge: Judge, right: Kernel) -> None:
    for kernel in (right, run(), Kernel("pytorch", MODEL_NEW)):
        found = verdict(judge, kernel)
        assert isinstance(found.evaluation, Passed), found.evaluation
        assert 0 < found.evaluation.accuracy_ratio < 10
        assert found.evaluation.timing is None


def test_a_passed_verdict_reports_each_stage_with_evidence_and_time(judge: Judge) -> None:
    reports = verdict(judge, run()).stages
    assert [report.name for report in reports] == STAGES
    assert all(r.evidence and r.seconds >= 0 for r in reports)
    assert {r.name for r in reports if r.status == "skipped"} == NOT_ASKED
    assert {r.name for r in reports if r.status == "passed"} == set(STAGES) - NOT_ASKED


def test_a_verdict_claims_the_isolation_that_this_machine_offers(judge: Judge) -> None:
    found = verdict(judge, run())
    assert list(found.layers) == available()
    level = next((i for i, name in enumerate(LAYERS) if name not in found.layers), len(LAYERS))
    assert found.isolation == level


def test_a_kernel_that_never_ran_claims_no_isolation(judge: Judge) -> None:
    found = verdict(judge, Kernel("cpp", f"{HEAD}{SPEC}{BODY}"))
    assert (found.isolation, found.layers) == (0, ())


@pytest.mark.parametrize(
    ("kernel", "stage", "reason", "words"),
    [
        (native("y[0] = ; "), "build", Reason.BUILD, "error:"),
        (Kernel("cpp", BODY + "}"), "build", Reason.BUILD, "no launch specification"),
        (Kernel("pytorch", "answer = 42\n"), "smoke", Reason.BUILD, "run, ModelNew, Model"),
        (native(""), "smoke", Reason.NUMERIC, "1536 elements are not finite or were never"),
        (native("std::abort();"), "smoke", Reason.CRASH, "SIGABRT"),
        (run("x = x[:7]"), "smoke", Reason.SHAPE, "(7, 32); must be (48, 32)"),
        (run("x, weight = x.double(), weight.double()"), "smoke", Reason.DTYPE, "float64"),
        (run("weight.mul_(2); x = x / 2"), "accuracy", Reason.NUMERIC, ""),
        (run("old, x = x, x.clone(); old.zero_()"), "probes", Reason.MUTATION, "argument 0"),
        (run("assert x.is_contiguous()"), "edges", Reason.CRASH, "AssertionError"),
    ],
)
def test_a_wrong_kernel_fails_with_stage_reason_and_words(
    judge: Judge, kernel: Kernel, stage: str, reason: Reason, words: str
) -> None:
    found = failure(judge, kernel)
    assert (found.stage, found.reason) == (stage, reason), found.log
    assert words in found.log


def test_the_failing_stage_is_the_last_one_asked(judge: Judge) -> None:
    reports = verdict(judge, native("")).stages
    assert [r.name for r in reports] == STAGES[:4]
    assert [r.status for r in reports] == ["passed"] * 3 + ["failed"]


def test_an_endless_kernel_ends_with_the_patience_of_its_judge(
    server: Server, linear: Problem
) -> None:
    with Judge(linear, server, 1, timeout_s=0.5) as judge:
        found = failure(judge, native("for (volatile int i = 1; i; ) i = 1;"))
    assert (found.stage, found.reason, found.log) == (
        "smoke", Reason.TIMEOUT, "no answer within 0.5 s",
    )  # fmt: skip


@pytest.mark.parametrize(
    "kernel",
    [
        native("std::abort();"),
        native("*(volatile int*)64 = 1;"),
        run("raise SystemExit(0)"),
        run("x = torch.empty(1 << 40)"),
        run("raise RuntimeError"),
        run("torch.manual_seed(0); torch.set_grad_enabled(True)"),
    ],
    ids=["aborts", "segfaults", "exits", "too much memory", "raises", "global state"],
)
def test_the_next_evaluation_is_unaffected(judge: Judge, kernel: Kernel, right: Kernel) -> None:
    verdict(judge, kernel)
    assert verdict(judge, right).passed
    assert failure(judge, native("")).reason == Reason.NUMERIC


def test_evaluations_leave_no_process_no_descriptor_and_no_folder(
    server: Server, linear: Problem
) -> None:
    def held() -> tuple[int, int, int]:
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return len(children), len(os.listdir("/proc/self/fd")), len(os.listdir(server.folder))

    with Judge(linear, server, 1, timeout_s=5.0) as judge:
        verdict(judge, run())
        time.sleep(0.5)
        before = held()
        for kernel in (run(), run("raise ValueError"), native("std::abort();"), native("")):
            verdict(judge, kernel)
        time.sleep(0.5)
        assert held() == before
    assert (before[0], before[2]) == (1, 1), "only the runner that waits for the next kernel"


def test_the_death_of_the_server_is_no_kernels_fault(linear: Problem) -> None:
    server = Server()
    with Judge(linear, server, 1) as judge:
        assert verdict(judge, run()).passed
        server.process.kill()
        server.process.wait()
        with pytest.raises(MachineError, match="fork server has died"):
            verdict(judge, run())
    server.close()


def test_a_problem_that_does_not_run_is_the_operators_fault(server: Server) -> None:
    with pytest.raises(UsageError, match="does not run"):
        Judge(Problem("broken", "raise ValueError('no')"), server, 1)


def test_two_judges_draw_two_seeds(server: Server, linear: Problem) -> None:
    with Judge(linear, server, 1) as one, Judge(linear, server, 1) as other:
        assert one.seed != other.seed


def test_the_eager_baseline_runs_the_reference_with_the_problems_weights(judge: Judge) -> None:
    eager = judge.baseline("eager")
    assert isinstance(eager, Remote)
    case = judge.cases.drawn[1]
    _, outputs = eager.ask({"do": "call"}, case.tensors, largest_bytes=1 << 20)
    assert torch.allclose(outputs[0], case.reference[0])
    assert judge.baseline("eager") is eager
