from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType

from kernelite.results import archive, terminal
from kernelite.results.events import as_verdict
from kernelite.results.fold import fold
from kernelite.results.log import EventLog, read
from kernelite.results.records import Verdict


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_run_fits_eighty_columns_and_names_kind_device_and_baseline(example_run: Path) -> None:
    text = shown(terminal.run_view(fold(read(example_run))))
    assert max(map(len, text.splitlines())) <= 80
    for word in ("measured", "modelled", "Intel Xeon Platinum 8481C", "torch.compile", "1.29x"):
        assert word in text


def test_losses_and_failures_are_shown(example_run: Path) -> None:
    text = " ".join(shown(terminal.run_view(fold(read(example_run))), 160).split())
    assert "0.61x [0.56, 0.66] compile" in text
    assert "failed accuracy: numeric" in text
    assert "library kept: scaled_dot_product_attention is faster" in text
    assert "dropped layers.*.rotary: the whole model was 0.4 % slower with it" in text


def test_hostile_text_is_neither_markup_nor_escape_sequence(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        label = "[bold red]x[/] \x1b[2J\x1b]0;title\x07 [link=file:///etc/passwd]y"
        log.append("candidate", {"id": "\x1bc1", "problem": "p", "site": "s", "label": label,
                                 "source": "int x;\r\x1b[1A\x9b2K"})  # fmt: skip
    runs = archive.stored_runs(tmp_path)
    text = shown(terminal.run_view(runs[0].run), 200)
    text += shown(terminal.archive_show(archive.find(runs, "\x1bc1")), 200)
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(text)
    assert "[bold red]x[/]" in text
    assert "title" not in text


def test_a_failed_verdict_names_stage_reason_log_and_isolation() -> None:
    text = shown(terminal.verdict_view(as_verdict({
        "verdict": "failed", "stage": "accuracy", "reason": "numeric", "log": "41 times [too] far",
        "isolation": 3, "layers": ["process", "seccomp"], "unknown_field": 1,
        "stages": [{"name": "accuracy", "status": "failed", "evidence": "e", "seconds": 0.5}],
    })))  # fmt: skip
    assert "failed at accuracy: numeric" in text
    assert "41 times [too] far" in text
    assert "isolation level 3 (process, seccomp)" in text


def test_a_gpus_clocks_are_told_if_they_are_known() -> None:
    timing = {"median": 2.0, "lower": 1.9, "upper": 2.1, "device": "a GPU",
              "gpu": {"before_mhz": 1980, "after_mhz": 1755, "slowed": ["power cap"]}}  # fmt: skip
    text = shown(terminal.verdict_view(as_verdict({"verdict": "passed", "timing": timing})), 200)
    assert "its clock: 1980 MHz, at the end 1755 MHz, power cap" in text
    del timing["gpu"]
    text = shown(terminal.verdict_view(as_verdict({"verdict": "passed", "timing": timing})), 200)
    assert "clock" not in text


def test_a_passed_verdict_says_what_is_unknown() -> None:
    text = shown(terminal.verdict_view(Verdict("passed")))
    assert "error against float64 unknown" in text
    assert "not timed" in text
    assert "isolation level unknown" in text


def test_the_archive_lists_winners_and_broken_runs(example_run: Path) -> None:
    runs = archive.stored_runs(example_run.parent)
    text = shown(terminal.archive_list(archive.entries(runs), runs), 140)
    assert "05c0ffee template cpp *" in text
    assert "4/6" in text


def test_a_problem_shows_its_candidates_and_its_source(example_run: Path) -> None:
    text = shown(terminal.archive_show(archive.find(archive.stored_runs(example_run), "0b7")))
    assert "problem 0b7e19c2d0af" in text
    assert "import torch" in text
