from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kernelite.errors import MachineError, UsageError
from kernelite.results import report
from kernelite.results.highlight import highlight
from kernelite.results.log import LOG_NAME, EventLog

HOSTILE = "<script>alert(1)</script>{{ 7*7 }}{% raw %}\x1b[31m\" onload='x' \u202e</pre></style>"


class Seen(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def written(folder: Path) -> str:
    return report.write(folder).read_text(encoding="utf-8")


def hostile_events(many: int) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "run_started", {"run": HOSTILE, "target": HOSTILE, "device": {"name": HOSTILE * 99}}
    problems = [f"{n}{HOSTILE}" for n in range(many)]
    yield "ranked", {"sites": [
        {"site": p, "problem": p, "label": HOSTILE * 50, "verdict": HOSTILE * 50, "share": 0.01,
         "gain": 0.01, "flops": 1e6, "bytes": 1e6, "measured_us": 5.0, "limit": HOSTILE * 99}
        for p in problems]}  # fmt: skip
    stages = [{"name": HOSTILE, "status": HOSTILE, "evidence": HOSTILE}] * 30
    wrong = {"verdict": "failed", "stage": HOSTILE, "reason": HOSTILE, "log": HOSTILE * 200}
    right = {"verdict": "passed", "timing": {"baseline": HOSTILE, "median": 2, "lower": 1.9,
                                             "upper": 2.1, "kind": HOSTILE}}  # fmt: skip
    for problem in problems:
        for number in range(4):
            source = HOSTILE * 12_000 if number == 0 and problem[:1] == "0" else HOSTILE
            yield "candidate", {"id": f"{number}{problem}", "problem": problem, "source": source,
                                "site": problem, "label": HOSTILE, "proposer": HOSTILE,
                                "choices": {HOSTILE: HOSTILE}, "backend": "cpp"}  # fmt: skip
            verdict = {**(right if number % 2 == 0 else wrong), "stages": stages}
            yield "evaluated", {"candidate": f"{number}{problem}", "problem": problem,
                                "verdict": verdict}  # fmt: skip
        yield "winner", {"site": problem, "candidate": f"0{problem}", "proposer": HOSTILE}
    yield "fallback", {"reason": HOSTILE * 5000, "site": HOSTILE}


@pytest.fixture
def hostile_run(tmp_path: Path) -> Path:
    with EventLog(tmp_path / "hostile") as log:
        for kind, body in hostile_events(12):
            log.append(kind, body)
    return tmp_path / "hostile"


def test_the_report_says_what_was_won_and_against_what(example_run: Path) -> None:
    text = " ".join(Seen(written(example_run)).text.split())
    assert "examples/llama.py:build runs 1.25× faster than the best of eager and torch" in text  # noqa: RUF001
    assert "82 % of that saving was measured" in text
    assert "0.61× [0.56, 0.66]" in text  # noqa: RUF001
    assert "level 3: landlock, process, seccomp" in text
    assert 'extern "C" void add_rms_norm(const float* x' in text


def test_the_same_log_gives_the_same_bytes(example_run: Path) -> None:
    assert written(example_run) == written(example_run)


def test_the_report_needs_no_network_and_runs_no_script(example_run: Path) -> None:
    page = written(example_run)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert "script" not in Seen(page).tags
    assert not {"src", "href", "onload"} & Seen(page).attributes
    assert "url(" not in page
    assert "@import" not in page


def test_hostile_text_is_shown_and_never_obeyed(hostile_run: Path) -> None:
    page = written(hostile_run)
    seen = Seen(page)
    assert "script" not in seen.tags
    assert "onload" not in seen.attributes
    assert "<script>alert(1)</script>{{ 7*7 }}" in seen.text
    assert not {"\x1b", "\u202e"} & set(page)
    assert page.count("</style>") == 1


def test_a_report_stays_small_whatever_a_run_holds(hostile_run: Path) -> None:
    assert report.write(hostile_run).stat().st_size < 300_000
    assert "more characters" in (hostile_run / "report.html").read_text()


def test_a_run_cut_off_anywhere_gives_a_report_that_says_so(
    tmp_path: Path, example_run: Path
) -> None:
    with EventLog(example_run, writable=False) as log:
        events = list(log.events())
    for length in (0, 1, 2, 3, 6, 20, len(events) - 3):
        with EventLog(tmp_path / str(length)) as log:
            for event in events[:length]:
                log.append(event.kind, event.body)  # type: ignore[arg-type]
        text = Seen(written(tmp_path / str(length))).text
        assert "has not finished" in text or (length == 0 and "does not say" in text)


def test_a_damaged_log_gives_a_report_with_what_could_be_read(example_run: Path) -> None:
    log = example_run / LOG_NAME
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2] + b"\xff" * (len(whole) - len(whole) // 2))
    text = Seen(written(example_run)).text
    assert "The log of this run is damaged" in text
    assert "examples/llama.py:build" in text


def test_a_folder_without_a_run_gets_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_leaves_nothing_behind(example_run: Path) -> None:
    (example_run / "report.html").mkdir()
    with pytest.raises(MachineError, match=r"cannot write .*report\.html"):
        report.write(example_run)
    assert not list(example_run.glob("*.tmp"))


def test_code_is_marked_and_escaped() -> None:
    assert highlight("if (a < 1) // <b>", "cpp") == (
        "<i class=k>if</i> (a &lt; <i class=n>1</i>) <i class=c>// &lt;b&gt;</i>"
    )
