"""Ending an evaluation ends everything that it started, and nothing else."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from kernelite.harness.cage import kill_tree


def gone(pid: int) -> bool:
    """Whether the process ends within a second; a zombie has ended."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def killed_descendant(shell: str, written: Path) -> int:
    """Kill the tree of a shell that starts ``{}``, a process that says its number; that number."""
    says = f"sh -c 'echo $$ > {written}.new; mv {written}.new {written}; sleep 60'"
    with subprocess.Popen(["sh", "-c", shell.format(says)], start_new_session=True) as child:
        while not written.exists():
            time.sleep(0.01)
        kill_tree(child.pid)
        child.wait()
    return int(written.read_text())


def test_killing_a_tree_reaches_a_grandchild_in_another_session(tmp_path: Path) -> None:
    assert gone(killed_descendant("setsid {} & wait", tmp_path / "pid"))


def test_killing_a_tree_reaches_an_orphan_of_its_session(tmp_path: Path) -> None:
    assert gone(killed_descendant("({} &); sleep 60", tmp_path / "pid"))


def test_killing_a_tree_leaves_its_brothers_alone() -> None:
    command = ["sleep", "60"]
    with subprocess.Popen(command) as brother, subprocess.Popen(command) as child:
        kill_tree(child.pid)
        child.wait()
        assert brother.poll() is None
        brother.kill()
