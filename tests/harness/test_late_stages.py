"""The stages that ask only when they are told to: each is here the only one to see something."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kernelite.errors import UsageError
from kernelite.harness.cases import Cases
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.variants import resized, retyped
from kernelite.harness.verdict import Failed, Reason, Verdict
from kernelite.kernels.devices import Bandwidth, Calibration, Ceiling, calibrate, cpu
from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import Policy
from kernelite.problems.problem import Problem

NO_TIMING = Effort(rounds=0, baselines=())
TIMED = Effort(rounds=10, seconds=1.0, baselines=("eager",))
SOFTMAX = """
import torch
{demands}

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, -1)


def get_inputs():
    return [torch.randn(64, 128)]


def get_init_inputs():
    return []
"""
RIGHT = "import torch\ndef run(x):\n    return torch.softmax(x, -1)\n"


def problem(demands: str = "") -> Problem:
    return Problem("softmax", SOFTMAX.format(demands=demands))


def judged(server: Server, source: str, effort: Effort, demands: str = "") -> Verdict:
    with Judge(problem(demands), server, 1) as judge:
        return judge.evaluate(Kernel("pytorch", source), effort, "cpu")


def evidence(verdict: Verdict, stage: str) -> str:
    return next(report.evidence for report in verdict.stages if report.name == stage)


def test_a_general_problem_is_asked_at_sizes_that_nobody_knows() -> None:
    looks = [
        {variant.case.name for variant in resized(Cases(problem('SHAPES = "general"'), seed))}
        for seed in (1, 2)
    ]
    known, secret = looks[0] & looks[1], looks[0] ^ looks[1]
    assert {"1x128", "64x17", "31x128", "64x32", "33x128", "64x127", "4099x3"} == known
    assert len(secret) == 4


def test_the_reference_says_which_dtypes_there_are() -> None:
    cases = Cases(problem(), 1)
    variant = retyped(cases, "bfloat16")
    assert variant is not None
    assert variant.case.reference[0].dtype != variant.case.truth[0].dtype
    indices = problem().source.replace("torch.randn(64, 128)", "torch.randint(5, (4, 4))")
    assert retyped(Cases(Problem("ints", indices), 1), "float16") is None


def test_what_a_problem_demands_must_exist() -> None:
    for line, words in (
        ('POLICY = "lax"', "strict, fused, free"),
        ('DTYPES = ("int4",)', "float64"),
        ('SHAPES = "some"', "fixed, general"),
    ):
        with pytest.raises(UsageError, match=words):
            Cases(problem(line), 1)


@pytest.mark.parametrize(
    ("policy", "body", "words"),
    [
        (Policy.STRICT, "torch.softmax(x, -1)", "the library computes _softmax"),
        (Policy.FUSED, "torch.softmax(x, -1)", "the library computes _softmax"),
        (Policy.FREE, "torch.softmax(x, -1)", "it is the reference"),
    ],
)
def test_a_policy_refuses_what_the_library_did(
    server: Server, policy: Policy, body: str, words: str
) -> None:
    source = f"import torch\ndef run(x):\n    return {body}\n"
    found = judged(server, source, replace(NO_TIMING, policy=policy)).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == ("policy", Reason.POLICY)
    assert words in found.log


def test_a_problem_s_own_policy_comes_first(server: Server) -> None:
    found = judged(server, RIGHT, NO_TIMING, 'POLICY = "strict"').evaluation
    assert isinstance(found, Failed)
    assert found.stage == "policy"


def test_free_means_anything_but_the_reference(server: Server) -> None:
    source = "import torch\ndef run(x):\n    return torch.log_softmax(x, -1).exp()\n"
    assert judged(server, source, replace(NO_TIMING, policy=Policy.FREE)).passed


def test_another_judge_catches_who_knows_the_seed(server: Server) -> None:
    seed = 5
    cases = Cases(problem(), seed)
    cases_seen = [*cases.drawn, *cases.ordinary(), *cases.extreme(), cases.one_changed(False)]
    known = [case.tensors[0][0, 0].item() for case in cases_seen]
    source = (
        f"import torch\nKNOWN = {known!r}\n"
        "def run(x):\n    first = x[0, 0]\n"
        "    known = any(first == k for k in KNOWN) or not first.isfinite()\n"
        "    return torch.softmax(x, -1) if known else x\n"
    )
    with Judge(problem(), server, 1, seed=seed) as judge:
        assert judge.evaluate(Kernel("pytorch", source), NO_TIMING, "cpu").passed
        again = judge.evaluate(Kernel("pytorch", source), replace(NO_TIMING, replay=True), "cpu")
    assert isinstance(again.evaluation, Failed)
    assert (again.evaluation.stage, again.evaluation.reason) == ("replay", Reason.NUMERIC)


def test_a_time_that_the_machine_cannot_reach_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with closing(Server()) as server:
        assert "unknown" in evidence(judged(server, RIGHT, TIMED), "light")
        for bytes_per_s, stage in ((1e15, None), (1e3, "light")):
            _calibrated(tmp_path, bytes_per_s, 1e18)
            found = judged(server, RIGHT, TIMED)
            assert (
                found.evaluation.stage if isinstance(found.evaluation, Failed) else None
            ) == stage
        assert isinstance(found.evaluation, Failed)
        assert found.evaluation.reason == Reason.IMPOSSIBLE


def test_who_computes_less_than_the_reference_writes_down_is_not_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _calibrated(tmp_path, 1e15, 1e3)
    with closing(Server()) as server:
        found = judged(server, RIGHT, TIMED)
    assert found.passed
    assert "cannot compute all that the reference writes down" in evidence(found, "light")


def _calibrated(cache: Path, bytes_per_s: float, flops_per_s: float) -> None:
    """Pretend that this machine was measured, and is so fast."""
    device = cpu.detect(1)
    bandwidth = (Bandwidth(1 << 20, Ceiling(bytes_per_s, "bytes/s", "pretended")),)
    fast, call = Ceiling(flops_per_s, "flops/s", "pretended"), Ceiling(1.0, "us", "pretended")
    found = Calibration(device, bandwidth, bandwidth, fast, fast, call, {}, 1.0)
    path = calibrate._path(device)
    assert path.is_relative_to(cache)
    path.write_text(json.dumps(calibrate.as_json(found)))
