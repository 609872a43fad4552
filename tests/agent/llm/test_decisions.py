from __future__ import annotations

import json

import pytest

from kernelite.agent.llm.answers import Fault, Repair, Unusable
from kernelite.agent.llm.decisions import Effect, Idea, read
from kernelite.results.exchanges import Answered

IDEAS = [
    {"name": "tiles", "effect": {"what": "bytes", "before": 4, "after": 2.0}},
    {"name": "rows"},
]
WANTED = [Idea("tiles", effect=Effect("bytes", 4.0, 2.0)), Idea("rows")]


def found(text: str, ending: str = "done") -> list[Idea] | Unusable:
    return read(Answered("1", ending=ending, text=text), list[Idea])


@pytest.mark.parametrize(
    "form", ["{}", "```json\n{}\n```", "Here [are] they:\n```\n{}\n```\nGood luck.", "{} and so on",
             "<think>[1]</think>\n{}"]
)  # fmt: skip
def test_a_decision_is_found_wherever_it_stands(form: str) -> None:
    assert found(form.replace("{}", json.dumps(IDEAS))) == WANTED


@pytest.mark.parametrize(
    ("text", "lesson"),
    [
        ("I would tile.", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('[{"name": "tiles", ', "no JSON"),
        ('[{"change": "no name"}]', "0.name: Field required"),
        ('{"name": "tiles"}', "should be a valid list"),
        ('[{"name": "a", "effect": {"before": "many"}}]', "0.effect.before"),
    ],
)
def test_what_is_no_such_decision_is_told_why(text: str, lesson: str) -> None:
    unusable = found(text)
    assert isinstance(unusable, Unusable)
    assert unusable.fault is Fault.MALFORMED
    assert lesson in unusable.lesson
    assert unusable.repair is Repair.TELL


def test_a_cut_answer_decides_nothing() -> None:
    cut = found(json.dumps(IDEAS), ending="truncated")
    assert isinstance(cut, Unusable)
    assert cut.fault is Fault.TRUNCATED


def test_a_label_is_one_line_that_a_terminal_can_show() -> None:
    assert Idea("\x1b[31mred\n\nname " + "x" * 90).label == ("[31mred name " + "x" * 90)[:40]
    assert Idea(" \n").label == "unnamed"
