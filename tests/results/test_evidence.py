"""The order in which kernels of unknown speed should be timed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernelite.results import unmeasured, wording
from kernelite.results.events import Event, Record
from kernelite.results.evidence import Compiled, Shortlisted, order
from kernelite.results.fold import Run, fold
from kernelite.results.records import (
    Candidate,
    Evaluated,
    Ranked,
    RankedSite,
    RunFinished,
    RunStarted,
    Verdict,
    Winner,
)

GOOD = Compiled(
    "a", "p", "H200", "sm_90", registers=40, spilled_bytes=0, shared_bytes=0, occupancy=0.5,
    launches=1, intermediate_bytes=0, moved_bytes=1000,
)  # fmt: skip
DEVICE = {"name": "H200", "absent": True}


@pytest.mark.parametrize(
    "worse",
    [
        {"trouble": "needs more"}, {"spilled_bytes": 4}, {"moved_bytes": 1001}, {"launches": 2},
        {"occupancy": 0.25}, {"spilled_bytes": None}, {"moved_bytes": None}, {"launches": None},
        {"occupancy": None},
    ],
    ids=repr,
)  # fmt: skip
def test_each_drawback_puts_a_kernel_back_and_so_does_not_knowing(
    worse: dict[str, object],
) -> None:
    assert order(GOOD) < order(replace(GOOD, **worse))


def test_the_first_difference_decides() -> None:
    spills = replace(GOOD, spilled_bytes=8, occupancy=1.0, moved_bytes=1)
    moves = replace(GOOD, moved_bytes=2000, occupancy=1.0)
    full = replace(GOOD, occupancy=1.0)
    assert sorted([spills, moves, GOOD, full], key=order) == [full, GOOD, moves, spills]


def test_registers_alone_decide_nothing() -> None:
    assert order(GOOD) == order(replace(GOOD, registers=255))


def folded(*bodies: Record) -> Run:
    return fold(Event(n, str(n), 0.0, "any", 1, body) for n, body in enumerate(bodies))


SEARCHED: tuple[Record, ...] = (
    RunStarted("r", "m.py:build", DEVICE, {"out": "runs/r"}),
    Ranked((RankedSite("s", "p"),), 1.5, kind="modelled"),
    Candidate("b", "p", "s", "triton", "template", "second"),
    Candidate("a", "p", "s", "triton", "template", "first"),
    Evaluated("a", "p", Verdict("passed", kind="emulated")),
    GOOD,
    Shortlisted("s", "p", "H200", ("a", "b")),
    RunFinished(3.0),
)


def test_a_shortlist_is_read_back_in_its_order_with_its_evidence() -> None:
    (site,) = folded(*SEARCHED).sites
    assert [attempt.candidate.label for attempt in site.shortlist] == ["first", "second"]
    assert site.shortlist[0].compiled == GOOD
    assert site.shortlist[0].timing is None


def test_the_words_promise_no_speed_and_say_how_to_learn_it() -> None:
    run = folded(*SEARCHED)
    assert wording.outcome(run) == "speed unknown"
    assert "unknown" in wording.headline(run)
    assert any("kernelite resume runs/r" in sentence for sentence in wording.sentences(run))
    assert unmeasured.document(run.sites[0].shortlist[0])["speedup"] is None


def test_on_the_gpu_the_shortlist_gives_way_to_the_winner() -> None:
    there = RunStarted("r", "m.py:build", {"name": "NVIDIA H200"}, {"out": "runs/r"})
    run = folded(*SEARCHED, there, Winner("s", "a", "p", "template", "triton"))
    assert not run.absent
    assert run.sites[0].shortlist == ()
    assert run.sites[0].winner is not None
    assert wording.outcome(run) != "speed unknown"
