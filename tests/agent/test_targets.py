"""``kernelite check --target``: as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kernelite.agent import targets
from kernelite.agent.bench.xcompile import ROW_KERNEL, SMALL
from kernelite.errors import UsageError
from kernelite.kernels.kernel import Kernel

pytest.importorskip("triton")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Triton kernel and its problem."""
    (tmp_path / "kernel.py").write_text(ROW_KERNEL.source)
    (tmp_path / "problem.py").write_text(SMALL.source)
    return tmp_path


def check(folder: Path, kernel: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kernelite.cli", "check", kernel, "--no-timing"]
    return subprocess.run(
        [*command, "--problem", "problem.py", *words],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


def test_targets_follow_the_verdict_and_their_troubles_fail_the_command(folder: Path) -> None:
    picky = "    from triton.runtime.driver import driver\n"
    picky += "    assert driver.active.get_current_target().warp_size < 64\n    x, w ="
    (folder / "kernel.py").write_text(ROW_KERNEL.source.replace("    x, w =", picky))
    done = check(folder, "kernel.py", "--target", "h200,hip:gfx942", "--json")
    document = json.loads(done.stdout)
    assert (document["verdict"], document["kind"]) == ("passed", "emulated")
    assert done.returncode == 1
    nvidia, amd = document["targets"]
    assert (nvidia["target"], nvidia["device"], amd["device"]) == ("sm_90", "H200", "MI300X")
    assert nvidia["trouble"] is None
    assert amd["trouble"] == {"kind": "host", "text": "AssertionError", "line": 19}
    (configuration,) = nvidia["configurations"]
    (console := Console(file=StringIO(), width=140)).print(targets.view([nvidia, amd]))
    shown = console.file.getvalue()
    assert "Compiled for sm_90 (H200), not run" in shown
    assert configuration["binary"]["code"] in shown
    assert "host, line 19: AssertionError" in shown


def test_a_wrong_target_is_one_line(folder: Path) -> None:
    done = check(folder, "kernel.py", "--target", "h9000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are: a100" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_only_triton_kernels_are_compiled_for_targets() -> None:
    with pytest.raises(UsageError, match="backend triton; this kernel's is cpp"):
        targets.asked(["h200"], Kernel("cpp", ""))
    assert targets.asked([], Kernel("cpp", "")) == []
    assert len(targets.asked(["h200", "H200"], Kernel("triton", ""))) == 1
