"""`kernelite optimize` from end to end: real processes, a tiny model, a budget of seconds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kernelite.errors import UsageError
from kernelite.results import log, records
from kernelite.results.events import Event

KERNELITE = [sys.executable, "-P", "-m", "kernelite.cli"]
MODEL = """
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(256) + 0.5)

    def forward(self, x):
        y = (x * 0.5 + 1) * self.weight
        return torch.relu(y * y - x) * 0.25


class Fickle(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def forward(self, x):
        x = self.gate(x)
        return x + 1 if float(x.sum()) > 0 else x - 1


def build():
    return nn.Sequential(Gate(), nn.Linear(256, 16)), (torch.randn(4096, 256),)


def fickle():
    return Fickle(), (torch.randn(64, 256),)
"""
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        y = x * 0.5 + 1
        return torch.relu(y * y - x) * 0.25


def get_inputs():
    return [torch.randn(4096, 256)]


def get_init_inputs():
    return []
"""


@dataclass(frozen=True)
class Workshop:
    """A folder with a model and a problem, and the cache that all runs of this file share."""

    folder: Path
    cache: Path

    def start(self, target: str, out: str, *more: object) -> subprocess.Popen[str]:
        """A command that runs by itself."""
        line = [*KERNELITE, "optimize", target, "--out", out, "--json", *map(str, more)]
        return subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env=os.environ | {"XDG_CACHE_HOME": str(self.cache), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def optimize(self, target: str, out: str, *more: object) -> tuple[int, dict[str, Any], str]:
        """Exit code, document and stderr of a command that runs to its end."""
        with self.start(target, out, *more) as started:
            text, said = started.communicate()
        assert text, said
        return started.returncode, json.loads(text), said

    def events(self, out: str) -> list[Event]:
        return log.read(self.folder / out)

    def evaluated(self, out: str) -> dict[str, records.Verdict]:
        """Verdicts in the log, by what was evaluated; none while there is no log."""
        try:
            found = self.events(out)
        except UsageError:
            return {}
        return {e.uid: e.body.verdict for e in found if isinstance(e.body, records.Evaluated)}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("optimize")
    (folder / "model.py").write_text(MODEL)
    (folder / "gate.py").write_text(PROBLEM)
    return Workshop(folder, folder / "cache")


@pytest.fixture(scope="module")
def whole(workshop: Workshop) -> tuple[int, dict[str, Any], str]:
    """One run of the tiny model, from the beginning to the end."""
    return workshop.optimize(
        "model.py:build", "whole", "--budget-seconds", 4, "--max-candidates", 4,
        "--sites", "0:*",
    )  # fmt: skip


Whole = tuple[int, dict[str, Any], str]


def test_the_document_has_every_field_that_scripts_rely_on(whole: Whole) -> None:
    _, found, _ = whole
    assert found["schema"] == "kernelite.optimize/1"
    assert set(found) >= {"run", "device", "sites", "model", "seconds"}
    for site in found["sites"]:
        assert set(site) >= {
            "site", "problem", "calls", "share", "attainable", "winner", "speedup",
        }  # fmt: skip
        if site["winner"] is not None:
            assert set(site["winner"]) >= {"backend", "proposer"}
            assert set(site["speedup"]["vs_eager"]) >= {"median", "lower", "upper"}
    model = found["model"]
    assert set(model) >= {"latency_us", "speedup", "attainable", "verified", "max_error_ratio"}
    assert set(model["latency_us"]) == {"eager", "compile", "patched"}
    assert set(model["speedup"]) == {"vs_eager", "vs_compile"}


def test_the_numbers_of_a_whole_run_are_there_and_make_sense(whole: Whole) -> None:
    _, found, _ = whole
    assert found["model"]["attainable"] >= 1
    assert 0 < sum(site["share"] for site in found["sites"]) <= 1.001
    assert all(value > 0 for value in found["model"]["latency_us"].values())
    for ratio in found["model"]["speedup"].values():
        assert ratio["lower"] <= ratio["median"] <= ratio["upper"]
    assert found["seconds"] > 0


def test_the_patched_model_is_verified(whole: Whole) -> None:
    _, found, said = whole
    assert found["model"]["verified"] is True
    assert found["model"]["max_error_ratio"] < 10
    assert "verified; " in said


def test_the_exit_code_says_whether_the_model_became_faster(whole: Whole) -> None:
    code, found, _ = whole
    ratios = found["model"]["speedup"].values()
    faster = found["model"]["verified"] and all(ratio["lower"] > 1 for ratio in ratios)
    assert code == (0 if faster else 1)


def test_every_stage_has_its_line_of_progress(whole: Whole) -> None:
    stages = [line.split()[0] for line in whole[2].splitlines()]
    order = ["profile", "capture", "rank", "judge", "search", "verify", "patch", "report"]
    assert list(dict.fromkeys(stages)) == order


def test_the_report_stands_alone(workshop: Workshop, whole: Whole) -> None:
    html = (workshop.folder / "whole" / "report.html").read_text()
    assert html.lower().startswith("<!doctype html>")
    assert re.findall(r'(?:src|href)\s*=\s*"(?!#|data:)[^"]*"', html) == []
    assert "@import" not in html
    assert all(site["site"] in html for site in whole[1]["sites"])


def test_each_problem_file_runs_by_itself(workshop: Workshop, whole: Whole) -> None:
    files = sorted((workshop.folder / "whole" / "problems").glob("*.py"))
    assert len(files) == len(whole[1]["sites"])
    code = "import runpy, sys\nfor f in sys.argv[1:]:\n    m = runpy.run_path(f)\n"
    code += "    m['Model'](*m['get_init_inputs']())(*m['get_inputs']())\n"
    line = [sys.executable, "-I", "-c", code, *map(str, files)]
    assert subprocess.run(line, check=False).returncode == 0


def test_no_more_is_judged_than_allowed(workshop: Workshop, whole: Whole) -> None:
    quick = [uid for uid in workshop.evaluated("whole") if uid.startswith("quick")]
    assert 1 <= len(quick) <= 4


def test_a_dry_run_captures_and_searches_nothing(workshop: Workshop) -> None:
    code, found, _ = workshop.optimize("model.py:build", "dry", "--dry-run")
    kinds = {event.kind for event in workshop.events("dry")}
    assert code == 0
    assert {"profiled", "ranked", "captured", "run_finished"} <= kinds
    assert kinds.isdisjoint({"candidate", "evaluated", "winner", "verified", "patched"})
    assert found["model"]["attainable"] >= 1
    assert [site["winner"] for site in found["sites"]] == [None] * len(found["sites"])
    assert (workshop.folder / "dry" / "report.html").exists()


def test_a_model_that_cannot_be_exported_falls_back_and_says_why(workshop: Workshop) -> None:
    code, found, said = workshop.optimize("model.py:fickle", "fickle", "--dry-run")
    reasons = [
        e.body.reason for e in workshop.events("fickle") if isinstance(e.body, records.Fallback)
    ]
    assert code == 0
    assert len(found["sites"]) >= 1
    assert reasons
    assert reasons[0].split(":")[0] in said
    html = (workshop.folder / "fickle" / "report.html").read_text()
    assert reasons[0].split()[0] in html


def test_a_run_that_was_killed_goes_on_and_keeps_what_it_had(workshop: Workshop) -> None:
    """Also a problem file as the target."""
    wanted = ("gate.py", "killed", "--sites", "*")
    with workshop.start(*wanted, "--max-candidates", 40, "--budget-seconds", 60) as started:
        while len(workshop.evaluated("killed")) < 2:
            assert started.poll() is None, started.communicate()[1]
            time.sleep(0.02)
        started.send_signal(signal.SIGKILL)
    before, kept = workshop.events("killed"), workshop.evaluated("killed")
    assert not any(event.kind == "run_finished" for event in before)

    more = ("--resume", "--max-candidates", len(kept) + 2, "--budget-seconds", 6)
    _, found, said = workshop.optimize(*wanted, *more)
    after = workshop.events("killed")
    assert after[: len(before)] == before
    assert len({event.uid for event in after}) == len(after)
    assert {uid: workshop.evaluated("killed")[uid] for uid in kept} == kept
    assert "resumed: 1 problems known from the log" in said
    assert after[-1].kind == "run_finished"
    assert found["model"]["verified"] is True
    assert found["sites"][0]["winner"] is None or found["sites"][0]["speedup"]
