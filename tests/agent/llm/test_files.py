"""Questions as files, answered by hand; and recorded answers."""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kernelite.agent.llm.calls import Calls
from kernelite.agent.llm.choice import choose
from kernelite.agent.llm.exchange import Prompt, Request
from kernelite.agent.llm.spend import Ledger
from kernelite.agent.providers import replay
from kernelite.errors import UsageError
from kernelite.results import log
from kernelite.results.exchanges import Answered, Asked

REQUEST = Request("generate", "v1", Prompt("the system", "the task", "turn one"), 500)
OTHER = replace(REQUEST, prompt=Prompt("the system", "the task", "turn two"))


def calls(llm: str, events: log.EventLog) -> Calls:
    chosen = choose(llm, "", "", "all", {})
    return Calls(chosen.models, Ledger(chosen.limits), events, lambda *_: None)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.prompt.md")}


def asked_twice(folder: Path, run: Path) -> None:
    """Two questions at once; the second is answered first, the first in two pieces."""
    soon = time.monotonic() + 30
    with log.EventLog(run) as events, calls(f"files:{folder}", events) as it:
        futures = [it.ask(request, "p", soon) for request in (REQUEST, OTHER)]
        while len(names(folder)) < 2:
            time.sleep(0.02)
        (folder / f"generate-{OTHER.id}.answer.md").write_text("to two")
        assert futures[1].result(20).text == "to two"
        assert not futures[0].done()
        with (folder / f"generate-{REQUEST.id}.answer.md").open("w") as half:
            half.write("to ")
            half.flush()
            time.sleep(0.15)
            half.write("one")
        assert futures[0].result(20).text == "to one"


def test_answers_may_come_in_any_order_and_are_read_whole(tmp_path: Path) -> None:
    asked_twice(tmp_path / "q", tmp_path / "run")
    text = (tmp_path / "q" / f"generate-{REQUEST.id}.prompt.md").read_text()
    assert text == "the system\n\nthe task\n\nturn one"


def test_an_answer_that_came_while_nobody_waited_is_found(tmp_path: Path) -> None:
    (tmp_path / f"generate-{REQUEST.id}.answer.md").write_text("early")
    with log.EventLog(tmp_path / "run") as events, calls(f"files:{tmp_path}", events) as it:
        assert it.ask(REQUEST, "p", time.monotonic() + 20).result(20).text == "early"


def test_asking_the_same_again_is_another_question(tmp_path: Path) -> None:
    assert replace(REQUEST, repeat=1).id != REQUEST.id
    assert replace(REQUEST, version="v2").id == REQUEST.id


def test_a_run_can_be_replayed_from_its_log(tmp_path: Path) -> None:
    asked_twice(tmp_path / "q", tmp_path / "run")
    llm = f"replay:{tmp_path / 'run'}"
    with log.EventLog(tmp_path / "again") as events, calls(llm, events) as it:
        found = it.ask(OTHER, "p", time.monotonic() + 20).result(20)
    assert (found.text, found.ending, found.usd) == ("to two", "done", 0.0)
    assert found.estimated


def records() -> list[Asked | Answered]:
    prompt = REQUEST.prompt
    return [Asked(REQUEST.id, purpose="generate", system=prompt.system, task=prompt.task,
                  turn=prompt.turn), Answered(REQUEST.id, ending="done", text="yes")]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_recorded_answers_can_be_kept_in_a_file(tmp_path: Path, name: str) -> None:
    replay.dump(records(), tmp_path / name)
    client = replay.PROVIDER.client(str(tmp_path / name), {})
    assert asyncio.run(client.complete(REQUEST)).text == "yes"


def test_a_question_that_nobody_recorded_names_the_nearest(tmp_path: Path) -> None:
    replay.dump(records(), tmp_path / "a.jsonl")
    client = replay.PROVIDER.client(str(tmp_path / "a.jsonl"), {})
    wanted = (
        f"the nearest is generate-{REQUEST.id}, which has 'turn one' where this one has 'turn t"
    )
    with pytest.raises(UsageError, match=wanted):
        asyncio.run(client.complete(OTHER))


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"text")[:-4])
    for name in ("a.jsonl", "b.jsonl.gz"):
        with pytest.raises(UsageError, match="holds no recorded answers"):
            replay.PROVIDER.client(str(tmp_path / name), {})
    with pytest.raises(UsageError, match="no run in"):
        replay.PROVIDER.client(str(tmp_path / "gone"), {})
