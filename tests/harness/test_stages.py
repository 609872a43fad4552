"""What the stages ask and what they say, each where it is the one that decides."""

from __future__ import annotations

import pytest

from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Server
from kernelite.harness.stages import Stage, stages
from kernelite.harness.verdict import Failed, Reason, Verdict
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

NO_TIMING = Effort(rounds=0, baselines=())
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return ANSWER


def get_inputs():
    return [torch.randn(32, 64)]


def get_init_inputs():
    return []
"""


def judged(server: Server, answer: str, candidate: str, before: str = "") -> Verdict:
    """The verdict on a candidate's expression for a problem's; ``before`` stands above both."""
    source = f"import torch\n{before}\ndef run(x):\n    return {candidate}\n"
    with Judge(Problem("p", PROBLEM.replace("ANSWER", answer)), server, 1) as judge:
        return judge.evaluate(Kernel("pytorch", source), NO_TIMING, "cpu")


def evidence(verdict: Verdict, stage: str) -> str:
    return next(report.evidence for report in verdict.stages if report.name == stage)


@pytest.mark.parametrize(("name", "stage"), stages(), ids=lambda value: str(value)[:12])
def test_a_stage_has_a_place_of_its_own(name: str, stage: Stage) -> None:
    assert isinstance(stage, Stage)
    assert [other for other, found in stages() if found.order == stage.order] == [name]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("x * 0", "zeros would pass"),
        ("x / 0 * 0", "gives NaN"),
        ("torch.rand_like(x)", "two answers"),
    ],
)
def test_a_problem_that_any_answer_would_pass_is_degenerate(
    server: Server, answer: str, words: str
) -> None:
    found = judged(server, answer, answer).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("admission", Reason.DEGENERATE)
    assert words in found.log


def test_a_source_that_reaches_out_is_refused_with_its_line(server: Server) -> None:
    found = judged(server, "x + 1", "x + 1", "import socket").evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("static", Reason.FORBIDDEN)
    assert found.log.startswith("line 2: import socket")


def test_notes_on_a_source_do_not_refuse_it(server: Server) -> None:
    verdict = judged(server, "x + 1", "x + 1", "import time")
    assert verdict.passed
    assert evidence(verdict, "static") == "1 notes"


def test_accuracy_says_how_far_off_and_on_how_many_inputs(server: Server) -> None:
    verdict = judged(server, "torch.softmax(x, -1)", "torch.softmax(x, -1)")
    assert (
        evidence(verdict, "accuracy")
        == "error 1.00 x the reference's own: drawn 0, drawn 1, drawn 2, wide, outliers, shifted"
    )


def test_an_answer_that_is_right_near_zero_only_fails_at_accuracy(server: Server) -> None:
    found = judged(server, "x * x", "x.clamp(-30, 30) ** 2").evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("accuracy", Reason.NUMERIC)


def test_a_right_kernel_that_sums_in_changing_order_passes_with_a_note(server: Server) -> None:
    before = "calls = []\ndef total(x):\n    calls.append(1)\n    n = len(calls) % 5 + 1\n"
    before += "    return x[:, :n].sum(-1) + x[:, n:].sum(-1)"
    verdict = judged(server, "x.sum(-1)", "total(x)", before)
    assert verdict.passed, verdict.evaluation
    assert "runs differ, by less than a quarter of the error budget" in evidence(
        verdict, "determinism"
    )


def test_a_kernel_that_hides_infinities_fails_at_the_edges(server: Server) -> None:
    found = judged(server, "x * 2", "torch.nan_to_num(x * 2)").evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("edges", Reason.NUMERIC)
    assert "NaN" in found.log


def test_an_output_that_shares_memory_with_the_input_is_fine_where_the_reference_does_it(
    server: Server,
) -> None:
    assert judged(server, "x.t()", "x.t()").passed


def test_a_kernel_that_looks_at_what_lay_there_before_fails_at_the_probes(server: Server) -> None:
    before = "known = {}\ndef cached(x):\n"
    before += (
        "    known.setdefault(x.data_ptr(), (x, x * 2))\n    return known[x.data_ptr()][1] + 0"
    )
    found = judged(server, "x * 2", "cached(x)", before).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("probes", Reason.NUMERIC)


def test_timing_is_left_out_where_nobody_asks_for_it(server: Server) -> None:
    assert evidence(judged(server, "x + 1", "x + 1"), "timing") == "not asked for"
