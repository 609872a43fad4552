"""A model that answers by files, with the real judge, real kernels and a real log."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernelite.agent.llm import thinking
from kernelite.agent.llm.choice import choose
from kernelite.agent.search import verdict_on
from kernelite.harness.judge import Effort, Judge
from kernelite.harness.remote import Server
from kernelite.kernels.backends.cpp import compiler
from kernelite.problems.problem import Problem
from kernelite.results import events, records
from kernelite.results.exchanges import Answered, Asked
from kernelite.results.log import EventLog, read
from tests.agent.llm import stand_in

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++")

ADD_NORM = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(192) + 0.5)

    def forward(self, x, r):
        y = x + r
        return y, self.weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6))


def get_inputs():
    return [torch.randn(64, 192), torch.randn(64, 192)]


def get_init_inputs():
    return []
"""
PROBLEM = Problem("add_norm", ADD_NORM)
EFFORT = Effort(rounds=12, seconds=0.3, baselines=("eager",), narrow=0.04, thorough=False)


@contextmanager
def answering(folder: Path) -> Iterator[None]:
    """The stand-in, at work on the folder."""
    script = Path(stand_in.__file__)
    with subprocess.Popen([sys.executable, str(script), str(folder)]) as started:
        try:
            yield
        finally:
            started.kill()


@dataclass(frozen=True)
class Searched:
    """What a search left behind."""

    run: Path
    questions: Path
    said: list[str]

    def bodies(self, kind: type) -> list[object]:
        return [event.body for event in read(self.run) if isinstance(event.body, kind)]

    def asked(self, purpose: str = "") -> list[Asked]:
        found = [body for body in self.bodies(Asked) if isinstance(body, Asked)]
        return [body for body in found if purpose in ("", body.purpose)]

    def by_llm(self) -> list[tuple[str, records.Verdict]]:
        """Label and verdict of each of the model's kernels."""
        labels = {c.id: c.label for c in self.bodies(records.Candidate)
                  if isinstance(c, records.Candidate) and c.proposer == "llm"}  # fmt: skip
        return [(labels[e.candidate], e.verdict) for e in self.bodies(records.Evaluated)
                if isinstance(e, records.Evaluated) and e.candidate in labels]  # fmt: skip


def converse(run: Path, questions: Path, seconds: float = 300, limits: str = "") -> Searched:
    """What the proposer proposes, judged as a search would; known verdicts are not asked again."""
    said: list[str] = []
    say = lambda _, text: said.append(text)  # noqa: E731
    chosen = choose(f"files:{questions}", limits, "", "all", {})
    server = Server()
    with (
        EventLog(run) as log, thinking.opened(chosen, 0, log, say) as think,
        Judge(PROBLEM, server, 1) as judge,
    ):  # fmt: skip
        assert think is not None
        for plan in think("site", time.monotonic() + seconds).propose(PROBLEM):
            kernel = plan.render({})
            candidate = records.Candidate(
                kernel.id, PROBLEM.id, proposer="llm", label=plan.label, source=kernel.source
            )
            log.append("candidate", candidate, uid=f"candidate {kernel.id} {PROBLEM.id}")
            if verdict_on(log, kernel, PROBLEM) is None:
                verdict = events.as_verdict(judge.evaluate(kernel, EFFORT, "cpu").as_json())
                body = records.Evaluated(kernel.id, PROBLEM.id, verdict)
                log.append("evaluated", body, uid=f"quick {kernel.id} {PROBLEM.id}")
    server.close()
    return Searched(run, questions, said)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("llm")
    (folder / "questions").mkdir()
    with answering(folder / "questions"):
        return converse(folder / "run", folder / "questions")


def test_ideas_come_before_code_and_code_before_its_repair(searched: Searched) -> None:
    purposes = [body.purpose for body in searched.asked()]
    assert purposes[0] == "plan"
    assert set(purposes[1:3]) == {"generate"}
    assert {"repair", "optimise"} <= set(purposes)


def test_a_wrong_kernel_is_repaired_with_the_judge_s_words(searched: Searched) -> None:
    verdicts = [verdict for label, verdict in searched.by_llm() if label == stand_in.FIRST]
    assert verdicts[0].reason == "numeric"
    assert verdicts[1].passed
    (repair,) = (
        b for b in searched.bodies(Asked) if isinstance(b, Asked) and b.purpose == "repair"
    )
    assert "s[i] * scale * 2" in repair.turn
    assert "numeric" in repair.turn


def test_prose_is_not_judged_but_answered(searched: Searched) -> None:
    assert f"site  {stand_in.SECOND}: no code" in searched.said
    verdicts = [verdict for label, verdict in searched.by_llm() if label == stand_in.SECOND]
    assert [verdict.passed for verdict in verdicts] == [True]


def test_a_right_kernel_is_improved_on_what_was_measured(searched: Searched) -> None:
    first = searched.asked("optimise")[0].turn
    assert f"{stand_in.FIRST}: expected bytes 1.2e+07 to 4.2e+06; refused at smoke" in first
    assert re.search(r"- speed: [\d.]+x eager, 95 % interval [\d.]+ to [\d.]+", first)
    assert "one call" in first


def test_every_answer_is_in_the_log_before_the_kernel_made_of_it(searched: Searched) -> None:
    texts: list[str] = []
    for event in read(searched.run):
        match event.body:
            case Answered() as answered:
                texts.append(answered.text)
            case records.Candidate(proposer="llm", source=source):
                assert any(source in text for text in texts)
    assert len(texts) >= 5


def test_all_prompts_of_a_problem_begin_alike(searched: Searched) -> None:
    asked = searched.asked()
    assert len({(body.system, body.task) for body in asked}) == 1
    assert "in2: float32 [192], state 'weight'" in asked[0].task
    assert "out1: float32 [64, 192]" in asked[0].task


def test_a_run_that_goes_on_asks_nothing_again(searched: Searched) -> None:
    """Also if the search without the model has found more in the meantime."""
    before = searched.asked()
    with EventLog(searched.run) as log:
        log.append("candidate", records.Candidate("c1", PROBLEM.id, proposer="template"))
        log.append("evaluated", records.Evaluated("c1", PROBLEM.id, records.Verdict("passed")))
    again = converse(searched.run, searched.questions, seconds=20)  # nobody is there to answer
    assert again.asked() == before


def test_when_nobody_answers_that_is_said_and_nothing_is_proposed(tmp_path: Path) -> None:
    found = converse(tmp_path / "run", tmp_path / "questions", seconds=1)
    (fallback,) = found.bodies(records.Fallback)
    assert isinstance(fallback, records.Fallback)
    assert "gave no answer" in fallback.reason
    assert found.by_llm() == []


def test_an_idea_that_the_budget_does_not_cover_leaves_the_others_alone(tmp_path: Path) -> None:
    """One question for code may take 24,000 tokens and its prompt, so two do not fit."""
    (tmp_path / "questions").mkdir()
    with answering(tmp_path / "questions"):
        found = converse(tmp_path / "run", tmp_path / "questions", limits="tokens=60000")
    (fallback,) = found.bodies(records.Fallback)
    assert isinstance(fallback, records.Fallback)
    assert "60,000 tokens for the run" in fallback.reason
    assert {label for label, _ in found.by_llm()} == {stand_in.FIRST}
