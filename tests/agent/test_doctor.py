from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernelite.agent.doctor import Finding, doctor

STATES = {"ok", "missing", "degraded"}


def named(name: str) -> Finding:
    return next(finding for finding in doctor() if finding.name == name)


def test_everything_is_reported_once_in_a_known_state() -> None:
    findings = doctor()
    assert len({finding.name for finding in findings}) == len(findings)
    assert {finding.state for finding in findings} <= STATES


def test_what_is_missing_says_what_that_costs() -> None:
    assert all(f.cost for f in doctor() if f.state != "ok")


def test_what_is_there_costs_nothing() -> None:
    assert not any(f.cost or f.remedy for f in doctor() if f.state == "ok")


def test_an_installed_torch_is_found_with_its_version() -> None:
    import torch

    assert named("torch").state == "ok"
    assert torch.__version__ in named("torch").detail


def test_a_missing_compiler_is_missing_and_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert named("g++").state == "missing"
    assert "apt-get install g++" in named("g++").remedy


def test_a_cache_that_cannot_be_made_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert named("cache").state == "missing"


def test_a_busy_neighbour_is_named() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            seen = any(_names(neighbour.pid) for _ in range(20))
        finally:
            neighbour.kill()
    assert seen


def _names(pid: int) -> bool:
    finding = named("timing")
    return finding.state == "degraded" and f"({pid})" in finding.detail


def test_it_runs_where_torch_is_not_installed() -> None:
    root = Path(__file__).parents[2] / "src"
    code = (
        "from kernelite.agent.doctor import doctor\n"
        "print(*[f.state for f in doctor() if f.name == 'torch'])"
    )
    environment = {"PYTHONPATH": str(root), "PATH": os.environ["PATH"], "HOME": str(root)}
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert found.stdout.strip() == "missing", found.stderr
