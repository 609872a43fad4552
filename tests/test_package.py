"""What a person meets before anything runs: version, start-up, make's targets, the wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import kernelite

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "scipy", "matplotlib", "optuna")


@pytest.fixture
def wheel_files() -> ModuleType:
    """The script that CI checks the wheel with."""
    path = ROOT / ".ci" / "wheel_files.py"
    spec = importlib.util.spec_from_file_location("wheel_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported_by_help(*arguments: str) -> set[str]:
    """Top-level packages that ``kernelite`` imports for these arguments."""
    command = [str(Path(sys.executable).with_name("kernelite")), *arguments]
    told = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=told)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [("--help",), ("optimize", "--help")])
def test_the_command_line_starts_without_heavy_imports(arguments: tuple[str, ...]) -> None:
    imported = imported_by_help(*arguments)
    assert "kernelite" in imported
    assert imported.isdisjoint(HEAVY)


def test_the_installed_version_is_the_source_s_version() -> None:
    assert version("kernelite") == kernelite.__version__


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= known


def test_every_example_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    files = [path.name for path in (ROOT / "examples").glob("*.py")]
    assert [file for file in files if f"examples/{file}" not in readme] == []


def test_every_folder_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = re.findall(r"^\|[^|]+\| `([^`]+)/NAME", text, re.MULTILINE)
    assert len(folders) >= 6
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_old_python_is_told_what_to_do(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "--makefile", str(ROOT / "Makefile"), "lint", f"PYTHON={old}"]
    (tmp_path / "constraints").mkdir()
    for name in ("pyproject.toml", "constraints/cpu.txt"):
        (tmp_path / name).touch()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr


def test_a_missing_compiler_is_named_before_anything_is_installed(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make is not None
    command = [make, "--makefile", str(ROOT / "Makefile"), "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={"PATH": str(tmp_path)})  # fmt: skip
    assert "apt-get install g++" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_wheel_that_lost_a_folder_is_named_with_what_it_lacks(
    wheel_files: ModuleType, tmp_path: Path
) -> None:
    names = sorted(wheel_files.expected())
    wheel = tmp_path / "kernelite.whl"
    with ZipFile(wheel, "w") as archive:
        for name in names:
            if not name.startswith("kernelite/harness/"):
                archive.writestr(name, "")
    assert "lacks kernelite/harness/__init__.py" in wheel_files.complaint(wheel)


def test_a_whole_wheel_draws_no_complaint(wheel_files: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "kernelite.whl"
    with ZipFile(wheel, "w") as archive:
        for name in (*wheel_files.expected(), "kernelite-0.1.0.dist-info/METADATA"):
            archive.writestr(name, "")
    assert wheel_files.complaint(wheel) == ""
