"""The search at one site, with the real judge: what it writes down, spends, and does not repeat."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernelite.agent.places.cuda import Earlier, waiting
from kernelite.agent.proposers import Proposer
from kernelite.agent.search import Budget, SiteSearch
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem
from kernelite.results import records
from kernelite.results.evidence import Shortlisted
from kernelite.results.log import EventLog, read

SOFTMAX = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x * 0.5, -1)


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
"""
SORT = SOFTMAX.replace("torch.softmax(x * 0.5, -1)", "torch.sort(x, -1).values")
Known = Mapping[tuple[str, str], records.Verdict]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@dataclass(frozen=True)
class Found:
    """What a search left behind: its events, its winner and what it spent."""

    folder: Path
    winner: records.Winner | None
    evaluations: int
    said: list[str]

    def bodies(self, kind: type) -> list[object]:
        return [event.body for event in read(self.folder) if isinstance(event.body, kind)]

    def known(self) -> Known:
        return {
            (event.uid, event.body.problem): event.body.verdict
            for event in read(self.folder)
            if isinstance(event.body, records.Evaluated)
        }


def searched(
    server: Server, folder: Path, source: str = SOFTMAX, backend: str = "all",
    evaluations: int = 2, seconds: float = 5.0, known: Known | None = None,
    earlier: Sequence[tuple[str, Proposer]] = (),
) -> Found:  # fmt: skip
    """One search in a new log, or in one that is there."""
    said: list[str] = []
    problem = Problem("p", source)
    budget = Budget(time.monotonic() + seconds, evaluations)
    with EventLog(folder) as log, Judge(problem, server, 1) as judge:
        search = SiteSearch(
            "block.softmax", problem, judge, log, lambda stage, text: said.append(text), "cpu",
            backend, 0, known or {}, earlier=earlier,
        )  # fmt: skip
        winner = search.run(budget)
    return Found(folder, winner, evaluations - budget.evaluations, said)


@pytest.fixture(scope="module")
def found(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A search that may judge three candidates."""
    return searched(server, tmp_path_factory.mktemp("run"), evaluations=3)


def test_a_candidate_is_written_down_before_its_verdict(found: Found) -> None:
    seen: set[str] = set()
    for event in read(found.folder):
        if isinstance(event.body, records.Candidate):
            seen.add(event.body.id)
        elif isinstance(event.body, records.Evaluated):
            assert event.body.candidate in seen
    assert seen


def test_a_verdict_is_complete(found: Found) -> None:
    for event in read(found.folder):
        if isinstance(event.body, records.Evaluated) and event.body.verdict.passed:
            verdict = event.body.verdict
            assert verdict.timing is not None
            assert verdict.timing.kind == "measured"
            assert verdict.accuracy_ratio is not None
            assert {stage.status for stage in verdict.stages} == {"passed", "skipped"}


def test_the_search_ends_with_one_decision(found: Found) -> None:
    decisions = found.bodies(records.Winner) + found.bodies(records.NoWinner)
    assert len(decisions) == 1
    assert (found.winner is not None) == isinstance(decisions[0], records.Winner)


def test_no_more_is_judged_than_the_budget_allows(found: Found) -> None:
    quick = [uid for uid, _ in found.known() if uid.startswith("quick")]
    assert 1 <= len(quick) <= 3


def test_each_judgement_that_was_paid_is_in_the_log(found: Found) -> None:
    quick = [uid for uid, _ in found.known() if uid.startswith("quick")]
    assert found.evaluations == len(quick)


def test_what_the_log_knows_is_not_judged_again(
    server: Server, found: Found, tmp_path: Path
) -> None:
    again = searched(server, tmp_path, evaluations=3, known=found.known())
    mine = {uid for uid, _ in again.known()}
    assert mine.isdisjoint({uid for uid, _ in found.known()})


def test_a_backend_that_is_not_wanted_is_not_judged(server: Server, tmp_path: Path) -> None:
    found = searched(server, tmp_path, backend="pytorch")
    assert found.bodies(records.Evaluated) == []
    assert found.winner is None


def test_what_was_found_elsewhere_is_judged_here(server: Server, tmp_path: Path) -> None:
    kernel = Kernel("pytorch", "import torch\n\n\ndef run(x):\n    return torch.sort(x, -1)[0]\n")
    body = records.Candidate(kernel.id, "p", "block.softmax", kernel.backend, source=kernel.source)
    with EventLog(tmp_path) as log:
        log.append("candidate", body)
        log.append("shortlisted", Shortlisted("block.softmax", "p", "H200", (kernel.id,)))
        log.append("shortlisted", Shortlisted("another", "p", "H200", ()))
        earlier = [("earlier", Earlier(waiting(log, "block.softmax")))]
        assert waiting(log, "another") == []
    found = searched(server, tmp_path, source=SORT, backend="pytorch", earlier=earlier)
    judged = [e for e in found.bodies(records.Evaluated) if isinstance(e, records.Evaluated)]
    assert {one.candidate for one in judged} == {kernel.id}


def test_a_problem_that_nobody_knows_ends_with_a_reason(server: Server, tmp_path: Path) -> None:
    found = searched(server, tmp_path, source=SORT, seconds=20)
    (decision,) = found.bodies(records.NoWinner)
    assert isinstance(decision, records.NoWinner)
    assert decision.reason
    assert found.said[-1].startswith("block.softmax  no winner")


def test_a_budget_is_spent_by_time_or_by_number() -> None:
    assert Budget(math.inf, 0).spent()
    assert Budget(time.monotonic() - 1, 5).spent()
    assert not Budget(time.monotonic() + 10, 1).spent()
    assert Budget(time.monotonic() + 10, 1).spent(ahead_s=20)


def test_a_part_of_a_budget_is_taken_out_of_it() -> None:
    whole = Budget(time.monotonic() + 100, 9)
    part = whole.part(0.5)
    assert (part.evaluations, whole.evaluations) == (5, 4)
    assert not part.spent(ahead_s=40)
    assert part.spent(ahead_s=60)
    assert not whole.spent(ahead_s=60)
