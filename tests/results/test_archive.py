from __future__ import annotations

from pathlib import Path

import pytest

from kernelite.errors import UsageError
from kernelite.results import archive
from kernelite.results.archive import FoundCandidate, FoundProblem
from kernelite.results.log import LOG_NAME, EventLog


def test_each_problem_has_its_winner_or_its_best_right_candidate(example_run: Path) -> None:
    found = archive.entries(archive.stored_runs(example_run.parent))
    best = {e.problem[0]: (e.best.candidate.id[:2], e.won) for e in found if e.best}
    assert best == {"0": ("05", True), "1": ("15", True), "2": ("25", False),
                    "3": ("35", False), "4": ("45", False)}  # fmt: skip


def test_a_candidate_is_found_by_the_start_of_its_id_with_its_lineage(example_run: Path) -> None:
    found = archive.find(archive.stored_runs(example_run), "05c")
    assert isinstance(found, FoundCandidate)
    assert found.id == "05c0ffee12ab"
    assert [attempt.candidate.id for attempt in found.lineage] == ["04c0ffee12ab"]


def test_a_problem_is_found_with_every_run_that_searched_it(tmp_path: Path) -> None:
    for run in ("a", "b"):
        with EventLog(tmp_path / run) as log:
            log.append("run_started", {"run": run})
            log.append("candidate", {"id": "c1", "problem": "p1", "site": "s"})
    found = archive.find(archive.stored_runs(tmp_path), "p")
    assert isinstance(found, FoundProblem)
    assert [entry.stored.folder.name for entry in found.entries] == ["a", "b"]


def test_an_ambiguous_id_lists_what_it_could_mean(example_run: Path) -> None:
    with pytest.raises(UsageError, match=r"'0' is ambiguous: 00c0ffee12ab, .*0b7e19c2d0af"):
        archive.find(archive.stored_runs(example_run), "0")


@pytest.mark.parametrize("asked", ["zz", ""])
def test_an_unknown_id_lists_what_there_is(example_run: Path, asked: str) -> None:
    with pytest.raises(UsageError, match=r"there are: 00c0ffee12ab, .* and \d+ more"):
        archive.find(archive.stored_runs(example_run), asked)


def test_a_lineage_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("candidate", {"id": "c1", "problem": "p", "parent": "c2"})
        log.append("candidate", {"id": "c2", "problem": "p", "parent": "c1"})
    found = archive.find(archive.stored_runs(tmp_path), "c1")
    assert isinstance(found, FoundCandidate)
    assert [a.candidate.id for a in found.lineage] == ["c2", "c1"]


def test_a_broken_run_is_listed_with_its_reason_beside_the_others(example_run: Path) -> None:
    broken = example_run.parent / "broken"
    broken.mkdir()
    (broken / LOG_NAME).write_bytes(b"no database at all, long enough for a header" * 40)
    runs = {stored.folder.name: stored for stored in archive.stored_runs(example_run.parent)}
    assert "not an event log" in (runs["broken"].broken or "")
    assert runs["example"].broken is None


def test_a_folder_without_runs_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kernelite optimize"):
        archive.stored_runs(tmp_path)
    with pytest.raises(UsageError, match="archive list FOLDER"):
        archive.stored_runs(tmp_path / "nothing")
