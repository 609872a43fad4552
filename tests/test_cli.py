"""The command line as a person or a script meets it: streams, exit codes, one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernelite.results import records
from kernelite.results.lock import FolderLock
from kernelite.results.log import EventLog

KERNELITE = [sys.executable, "-P", "-m", "kernelite.cli"]
MODEL = """
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), (torch.randn(4, 8),)


def raises():
    raise ValueError("no weights here")


def unfit():
    return nn.Linear(4, 4), (torch.randn(2, 3),)
"""


def kernelite(*arguments: object, **told: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``kernelite``; ``cwd`` is the folder that it runs in."""
    folder = told.pop("cwd", None)
    done = subprocess.run(
        [*KERNELITE, *map(str, arguments)], capture_output=True, text=True, check=False,
        cwd=folder, env=os.environ | told,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def complaint(*arguments: object, code: int = 2, **told: str) -> str:
    """The one line on stderr of a command that must end with ``code`` and print nothing."""
    found, out, err = kernelite(*arguments, **told)
    lines = err.splitlines()
    assert (found, out) == (code, "")
    assert len(lines) == 1, err
    assert lines[0].startswith("kernelite: ")
    return lines[0].removeprefix("kernelite: ")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file with factories, good and bad."""
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run's folder with one judged candidate."""
    folder = tmp_path / "runs" / "one"
    with EventLog(folder) as log:
        log.append("run_started", records.RunStarted(run="one", device={"name": "a CPU"}))
        log.append("ranked", records.Ranked((records.RankedSite("norm", problem="p1" * 6),)))
        made = records.Candidate(id="c1" * 6, problem="p1" * 6, site="norm", proposer="template")
        log.append("candidate", made)
        verdict = records.Verdict("failed", stage="smoke", reason="numeric")
        log.append("evaluated", records.Evaluated(made.id, made.problem, verdict))
    return folder


def test_the_version_comes_as_text_and_as_json() -> None:
    _, text, _ = kernelite("--version")
    code, out, _ = kernelite("--version", "--json")
    found = json.loads(out)
    assert (code, found["schema"]) == (0, "kernelite.version/1")
    assert text == f"kernelite {found['kernelite']}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimise", "x.py"), "'optimize'"),
        (("optimize", "x.py", "--budget-second", "3"), "--budget-seconds"),
        (("optimize", "x.py", "--seed", "many"), "'--seed'"),
        (("optimize",), "target"),
        (("bench", "quantum"), "there are: cpu"),
        (("bench", "cpu", "--ops", "sofmax"), "softmax"),
        (("optimize", "x.py", "--resume"), "--out FOLDER"),
        (("optimize", "x.py", "--device", "tpu"), "no device 'tpu' here; there"),
        (("--json", "doctor"), "doctor ... --json"),
        (("report", "nowhere"), "nowhere"),
        (("archive", "list", "nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_usage_error_is_one_line_that_names_what_there_is(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    assert words in complaint(*arguments, cwd=str(tmp_path))


def test_an_unknown_option_in_a_config_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "kernelite.toml").write_text("max_candidate = 3\n")
    for command in (("config", "show"), ("optimize", "model.py:build")):
        assert "did you mean 'max_candidates'" in complaint(*command, cwd=str(tmp_path))


def test_the_configuration_shows_where_each_value_comes_from(tmp_path: Path) -> None:
    code, out, _ = kernelite("config", "show", "--json", cwd=str(tmp_path), KERNELITE_SEED="4")
    found = json.loads(out)
    assert (code, found["schema"]) == (0, "kernelite.config/1")
    assert found["options"]["seed"] == {"value": 4, "origin": "KERNELITE_SEED"}
    assert found["options"]["backend"] == {"value": "all", "origin": "default"}


def test_the_archive_lists_what_was_judged_and_shows_it_by_id(stored: Path) -> None:
    code, out, _ = kernelite("archive", "list", stored.parent, "--json")
    listed = json.loads(out)
    assert (code, listed["schema"]) == (0, "kernelite.archive-list/1")
    assert [(p["problem"], p["best"]) for p in listed["problems"]] == [("p1" * 6, None)]
    code, out, _ = kernelite("archive", "show", "c1", "--runs", stored.parent, "--json")
    shown = json.loads(out)
    assert (code, shown["kind"], shown["proposer"]) == (0, "candidate", "template")
    assert shown["runs"][0]["verdicts"][0]["stage"] == "smoke"


def test_an_unknown_id_lists_those_there_are(stored: Path) -> None:
    assert "c1c1c1c1c1c1" in complaint("archive", "show", "zz", "--runs", stored.parent)


def test_a_report_is_written_and_its_path_is_all_of_stdout(stored: Path) -> None:
    code, out, _ = kernelite("report", stored)
    assert (code, out) == (0, f"{stored / 'report.html'}\n")
    assert (stored / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "arguments",
    [("report", "runs/one"), ("archive", "list"), ("archive", "show", "c1"), ("config", "show")],
    ids=" ".join,
)
def test_what_reads_results_starts_without_torch(stored: Path, arguments: tuple[str, ...]) -> None:
    told = {"PYTHONPROFILEIMPORTTIME": "1", "cwd": str(stored.parents[1])}
    code, _, err = kernelite(*arguments, **told)
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert code == 0
    assert "kernelite.cli" in err or "kernelite.errors" in imported
    assert "torch" not in imported


def test_a_tty_that_wants_no_colour_gets_none(stored: Path) -> None:
    told = {"FORCE_COLOR": "1", "NO_COLOR": "1"}
    _, out, _ = kernelite("archive", "show", "c1", "--runs", stored.parent, **told)
    assert "\x1b[31m" not in out
    assert "\x1b[1;31m" not in out


def test_without_torch_the_line_says_how_to_install_it(tmp_path: Path, model: Path) -> None:
    fake = tmp_path / "without" / "torch"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    said = complaint("optimize", f"{model}:build", code=3, PYTHONPATH=str(fake.parent))
    assert "pip install 'kernelite[torch]'" in said


def test_a_full_disk_under_stdout_is_the_machine_s_fault(stored: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*KERNELITE, "archive", "list", str(stored.parent)], stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("kernelite: disk full")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("biuld", "there are: build, raises, unfit"),
        ("raises", "ValueError: no weights here"),
        ("unfit", "does not accept its inputs"),
    ],
)
def test_a_bad_factory_is_named_and_nothing_is_written(
    model: Path, tmp_path: Path, factory: str, words: str
) -> None:
    out = tmp_path / "run"
    assert words in complaint("optimize", f"{model}:{factory}", "--out", out)
    assert not out.exists()


def test_a_missing_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "gone.py" in complaint("optimize", tmp_path / "gone.py:build", "--out", out)
    assert not out.exists()


def test_a_folder_that_holds_a_run_is_not_written_over(model: Path, stored: Path) -> None:
    before = (stored / "events.sqlite").read_bytes()
    assert "--resume" in complaint("optimize", f"{model}:build", "--out", stored)
    assert (stored / "events.sqlite").read_bytes() == before


def test_two_runs_at_once_do_not_share_a_folder(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    lock = FolderLock(out)
    try:
        said = complaint("optimize", f"{model}:build", "--out", out)
    finally:
        lock.release()
    assert f"another run (process {os.getpid()})" in said


def test_without_a_compiler_no_run_is_begun(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = ("optimize", f"{model}:build", "--out", out, "--backend", "cpp")
    assert "no g++ found" in complaint(*line, code=3, PATH=str(tmp_path))
    assert not out.exists()


def test_a_full_disk_under_the_run_is_the_machine_s_fault(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=100k none {small} || exit 77;"
        f" exec {' '.join(KERNELITE)} optimize {model}:build --out {small}/run"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small file system")
    assert done.returncode == 3, done.stderr
    assert "disk full" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    line = [*KERNELITE, "optimize", f"{model}:build", "--out", str(tmp_path / "run")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert started.stderr.readline().startswith("profile")
        started.send_signal(signal.SIGINT)
        said = started.stderr.read().splitlines()[-1]
    assert started.returncode == 130
    assert said.endswith(f"go on with: kernelite resume {tmp_path / 'run'}")
    assert (tmp_path / "run" / "events.sqlite").exists()
