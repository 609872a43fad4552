from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernelite.agent.apply import apply, inserts, patched, winners
from kernelite.errors import UsageError
from kernelite.kernels.kernel import Kernel
from kernelite.problems.capture import Host, Site, hosts, sites
from kernelite.problems.target import Target
from kernelite.results.log import EventLog
from kernelite.results.records import Candidate, Captured, Patched, Winner
from tests.models import Decoder, decoder

LABELS = ("add+rms_norm", "rotary")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def captured() -> tuple[list[Host], list[Site]]:
    model, words = decoder()
    found, _ = hosts(Target("m", "m", model, (words,), {}))
    return found, sites(model, found)


@pytest.fixture(scope="module")
def run(captured: tuple[list[Host], list[Site]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's log, written by hand: each winner is its problem's own text."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with EventLog(folder) as log:
        for site in captured[1]:
            if site.label in LABELS:
                one = Kernel("pytorch", site.problem.source)
                log.append(
                    "captured",
                    Captured(
                        site.name, site.problem.id, f"{site.problem.name}.py", site.problem.source
                    ),
                )
                log.append("candidate", Candidate(one.id, site.problem.id, site.name, one.backend,
                                                  source=one.source))  # fmt: skip
                log.append("winner", Winner(site.name, one.id, site.problem.id))
    return folder


def test_winners_are_the_log_s_with_their_kernels(
    run: Path, captured: tuple[list[Host], list[Site]]
) -> None:
    by_name = {site.name: site for site in captured[1]}
    found = winners(run)
    assert len(found) == 3
    assert all(c.kernel.source == by_name[c.site].problem.source for c in found)


def test_the_last_winner_of_a_site_counts(run: Path, tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("captured", Captured("s", "p", "p.py", "x = 1"))
        for order in ("first", "second"):
            log.append("candidate", Candidate(order, "p", "s", "cpp", source=order))
            log.append("winner", Winner("s", order, "p"))
    assert [choice.kernel.source for choice in winners(tmp_path)] == ["second"]


def test_a_winner_goes_to_every_place_of_its_problem(
    run: Path, captured: tuple[list[Host], list[Site]]
) -> None:
    found = inserts(captured[1], winners(run))
    assert sorted(len(places) for places in found.values()) == [1, 3, 4]
    assert len({insert.name for places in found.values() for insert in places}) == 3


def test_a_run_makes_a_new_model_of_the_same_kind_use_its_winners(run: Path) -> None:
    torch.manual_seed(5)
    model, words = Decoder().eval(), decoder()[1]
    wanted = model(words)
    made = apply(model, [words], run)
    before = sum(made.calls.values())
    assert torch.equal(model(words), wanted)
    assert sum(made.calls.values()) - before == 8
    assert made.fallbacks == {}


def test_sites_that_were_dropped_are_left_out(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    kept = next(choice.site for choice in winners(run) if "rotary" in choice.site)
    with EventLog(folder) as log:
        with EventLog(run, writable=False) as old:
            for event in old.events():
                log.append(event.kind, event.body)
        log.append("patched", Patched((kept,)))
    model, words = decoder()
    made = apply(model, [words], folder)
    before = sum(made.calls.values())
    model(words)
    assert sum(made.calls.values()) - before == 4


def test_a_site_can_be_left_out_for_a_while(
    run: Path, captured: tuple[list[Host], list[Site]]
) -> None:
    model, _ = decoder()
    found = inserts(captured[1], winners(run))
    made = patched(model, captured[0], found, without=list(found)[1:])
    assert len(made.names) == 1


def test_inputs_that_no_winner_was_made_for_are_refused(run: Path) -> None:
    model, words = decoder()
    with pytest.raises(UsageError, match="fits this model with these inputs"):
        apply(model, [words[:1]], run)
    assert "forward" not in vars(model)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    model, words = decoder()
    with pytest.raises(UsageError, match="no run in"):
        apply(model, [words], tmp_path)
