from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kernelite.results import summary, wording
from kernelite.results.events import Event, Record
from kernelite.results.fold import Run, fold
from kernelite.results.log import read
from kernelite.results.records import (
    Candidate,
    Evaluated,
    RankedSite,
    RunStarted,
    TimingResult,
    Verdict,
)


def events(*bodies: Record) -> list[Event]:
    return [Event(n, str(n), 0.0, "any", 1, body) for n, body in enumerate(bodies)]


def test_the_document_has_exactly_the_promised_fields(example_run: Path) -> None:
    document = summary.document(fold(read(example_run)))
    names = ["schema", "run", "device", "absent", "kind", "sites", "model", "seconds"]
    assert list(document) == names
    assert (document["absent"], document["kind"]) == (False, "measured")
    assert document["schema"] == "kernelite.optimize/1"
    assert document["device"] == "Intel Xeon Platinum 8481C"
    assert document["sites"][0] == {
        "site": "layers.*.norm", "problem": "0b7e19c2d0af", "calls": 8, "share": 0.152,
        "attainable": 6.1, "winner": {"backend": "cpp", "proposer": "template"},
        "speedup": {"vs_eager": {"median": 3.76, "lower": 3.73, "upper": 3.79},
                    "vs_compile": {"median": 2.35, "lower": 2.32, "upper": 2.38}},
        "shortlist": [],
    }  # fmt: skip
    assert document["model"]["latency_us"]["patched"] == 20880.0
    assert document["model"]["verified"] is True


def test_a_site_that_was_dropped_or_kept_the_library_has_no_winner(example_run: Path) -> None:
    sites = {s["site"]: s for s in summary.document(fold(read(example_run)))["sites"]}
    for name in ("layers.*.rotary", "layers.*.attention", "loss"):
        assert sites[name]["winner"] is None
        assert sites[name]["speedup"] is None


def test_an_unfinished_run_leaves_unknown_what_is_unknown(example_run: Path) -> None:
    run = fold(read(example_run)[:20])
    document = summary.document(run)
    assert document["seconds"] is None
    assert document["model"]["verified"] is None
    assert document["model"]["latency_us"] == {"eager": None, "compile": None, "patched": None}
    assert wording.outcome(run) == "unfinished"


def test_every_prefix_of_a_run_folds_and_can_be_put_into_words(example_run: Path) -> None:
    everything = read(example_run)
    for length in range(len(everything) + 1):
        run = fold(everything[:length])
        assert wording.headline(run)
        assert summary.document(run)["schema"]


def test_a_verdict_without_its_candidate_is_still_counted() -> None:
    lost = Evaluated("abc", "p1", Verdict("failed", "build", "build"))
    (site,) = fold(events(RunStarted("r"), lost)).sites
    assert site.failures == {"build": 1}
    assert site.site == RankedSite("p1", path="p1")


def test_a_wrong_kernel_carries_no_time_even_if_the_log_says_so() -> None:
    timed = Verdict("failed", "accuracy", "numeric", timing=TimingResult(median=9.0))
    run = fold(events(Candidate("a", "p", "s"), Evaluated("a", "p", timed)))
    assert run.attempts[0].timing is None


def test_a_second_verdict_replaces_the_first_and_keeps_it() -> None:
    verdicts = [Verdict("failed", "build"), Verdict("passed")]
    found = fold(events(Candidate("a", "p", "s"), *(Evaluated("a", "p", v) for v in verdicts)))
    assert found.attempts[0].verdict == verdicts[1]
    assert found.attempts[0].verdicts == tuple(verdicts)


def test_the_saving_reached_compares_time_saved_with_time_promised(example_run: Path) -> None:
    reached = wording.reached(fold(read(example_run)))
    assert reached == pytest.approx((1 - 1 / 1.291) / (1 - 1 / 1.38))


def test_an_unverified_model_is_never_called_faster(example_run: Path) -> None:
    changed = [e for e in read(example_run) if e.kind != "verified"]
    run = fold(changed)
    assert wording.outcome(run) == "not verified"
    assert wording.best_baseline(run) is None


def test_an_empty_log_is_said_to_be_one() -> None:
    assert wording.outcome(Run()) == "empty"
    assert summary.document(Run())["run"] == ""


def test_figures_have_three_digits_and_unknown_is_not_zero() -> None:
    assert [wording.time(v) for v in (None, 0.5, 412.34, 26940.0, 2.5e6)] == [
        "unknown", "0.50 us", "412 us", "26.9 ms", "2.50 s"
    ]  # fmt: skip
    assert wording.share(0.1523) == "15.2 %"
    assert wording.share(None) == "unknown"


def test_results_start_without_torch_or_matplotlib() -> None:
    script = (
        "import sys, kernelite.results.report, kernelite.results.terminal\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"
