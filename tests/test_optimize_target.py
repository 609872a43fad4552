"""`kernelite optimize --target` and `resume` where the GPU is not: real judge, real compilers."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from kernelite.results import records
from kernelite.results.evidence import Compiled, Shortlisted
from tests.workshop import MODEL, Workshop

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.at(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def whole(workshop: Workshop) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and progress of one run, from the beginning to the end."""
    code, text, said = workshop.kernelite(
        "optimize", "model.py:build", "--target", "h200", "--out", "whole", "--json",
        "--budget-seconds", 90,
    )  # fmt: skip
    assert text, said
    return code, json.loads(text), said


Whole = tuple[int, dict[str, Any], str]


def test_the_run_ends_with_kernels_of_unknown_speed(whole: Whole) -> None:
    code, found, _ = whole
    assert code == 0
    assert (found["device"], found["absent"], found["kind"]) == ("H200", True, "modelled")
    searched = [site for site in found["sites"] if site["shortlist"]]
    assert len(searched) == 1
    for kernel in searched[0]["shortlist"]:
        assert (kernel["verdict"], kernel["kind"], kernel["speedup"]) == (
            "passed",
            "emulated",
            None,
        )
        assert kernel["evidence"]["arch"] == "sm_90"
        assert kernel["evidence"]["registers"] > 0


def test_the_kernel_that_moves_less_is_to_be_timed_first(whole: Whole) -> None:
    """The default choice copies its input, which is a launch and a tensor more."""
    (shortlist,) = (site["shortlist"] for site in whole[1]["sites"] if site["shortlist"])
    first, last = (kernel["evidence"] for kernel in shortlist)
    assert (first["launches"], last["launches"]) == (1, 2)
    assert last["moved_bytes"] - first["moved_bytes"] == 2 * 4096 * 256 * 4
    assert shortlist[0]["choices"]["copy"] == "view(x.shape)"


def test_what_is_emulated_is_the_same_plan_at_small_sizes(workshop: Workshop, whole: Whole) -> None:
    made = workshop.bodies("whole", records.Candidate)
    judged = {e.candidate: e.stand_in for e in workshop.bodies("whole", records.Evaluated)}
    assert made
    for candidate in made:
        assert "gate[(4096,)]" in candidate.source
        assert "gate[(3,)]" in judged[candidate.id]


def test_nothing_of_the_run_is_a_measured_time(workshop: Workshop, whole: Whole) -> None:
    assert all(value is None for value in whole[1]["model"]["latency_us"].values())
    for evaluated in workshop.bodies("whole", records.Evaluated):
        assert (evaluated.verdict.kind, evaluated.verdict.timing) == ("emulated", None)
    (ranked,) = workshop.bodies("whole", records.Ranked)
    assert [site.measured_us for site in ranked.sites] == [None] * len(ranked.sites)
    assert all(site.modelled_us > 0 for site in ranked.sites)
    assert workshop.bodies("whole", records.Winner) == []


def test_what_a_person_reads_says_what_is_missing(workshop: Workshop, whole: Whole) -> None:
    _, shown, _ = workshop.kernelite("report", "whole", "--terminal")
    html = (workshop.folder / "whole" / "report.html").read_text()
    for text in (shown, html):
        assert "speed unknown" in text
        assert "kernelite resume whole" in text
        assert "H200" in text
    assert "measured on" not in shown.lower()
    assert '<span class="kind measured">' not in html


def test_the_folder_holds_what_another_machine_needs(workshop: Workshop, whole: Whole) -> None:
    folder = workshop.folder / "whole"
    (left,) = workshop.bodies("whole", Shortlisted)
    sources = {c.id: c.source for c in workshop.bodies("whole", records.Candidate)}
    kept = sorted((folder / "kernels").iterdir())
    assert [path.read_text() for path in kept] == [sources[name] for name in left.candidates]
    assert len(list((folder / "problems").iterdir())) == len(whole[1]["sites"])
    assert (folder / "model" / "model.py").read_text() == MODEL


def test_without_the_gpu_a_finished_run_says_what_it_waits_for(
    workshop: Workshop, whole: Whole
) -> None:
    before = workshop.events("whole")
    code, text, said = workshop.kernelite("resume", "whole")
    assert (code, text) == (3, "")
    assert said.count("\n") == 1
    assert "waits for a GPU, H200" in said
    assert workshop.events("whole") == before


def test_a_killed_run_goes_on_even_where_the_models_file_is_not(workshop: Workshop) -> None:
    (workshop.folder / "moved.py").write_text(MODEL)
    with workshop.start(
        "optimize", "moved.py:build", "--target", "mi300x", "--out", "killed",
        "--budget-seconds", 90,
    ) as started:  # fmt: skip
        while not workshop.bodies("killed", Compiled):
            assert started.poll() is None, started.communicate()[1]
            time.sleep(0.02)
        started.send_signal(signal.SIGKILL)
    before = workshop.events("killed")
    assert before[-1].kind != "run_finished"
    (workshop.folder / "moved.py").unlink()

    code, text, said = workshop.kernelite("resume", "killed", "--json")
    after = workshop.events("killed")
    assert code == 0, said
    assert after[: len(before)] == before
    assert len({event.uid for event in after}) == len(after)
    assert after[-1].kind == "run_finished"
    assert len({(c.candidate, c.problem) for c in workshop.bodies("killed", Compiled)}) == len(
        workshop.bodies("killed", Compiled)
    )
    assert json.loads(text)["device"] == "MI300X"
    assert any(site["shortlist"] for site in json.loads(text)["sites"])


def test_a_model_without_weights_is_ranked_and_nothing_is_searched(workshop: Workshop) -> None:
    code, text, said = workshop.kernelite(
        "optimize", "model.py:weightless", "--target", "b200", "--dry-run", "--out", "dry", "--json"
    )
    assert code == 0, said
    found = json.loads(text)
    assert found["sites"][0]["attainable"] > 2
    assert workshop.bodies("dry", records.Candidate) == []
    captured = workshop.bodies("dry", records.Captured)
    assert {one.reproduced for one in captured} == {None}
    assert "meta" not in captured[0].source


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model.py:weightless",), "--target h200"),
        (("model.py:build", "--target", "h2000"), "did you mean 'h200'"),
        (("model.py:build", "--target", "h200", "--backend", "cpp"), "leave --backend out"),
        (("model.py:build", "--target", "h200", "--device", "cuda"), "give one of them"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    workshop: Workshop, arguments: tuple[str, ...], words: str
) -> None:
    code, text, said = workshop.kernelite("optimize", *arguments, "--out", "refused")
    assert (code, text) == (2, "")
    assert words in said.splitlines()[-1]
