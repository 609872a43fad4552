"""`kernelite optimize --llm files:DIR` on an example, answered by the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernelite.kernels.backends.cpp import compiler
from kernelite.results import log, records
from kernelite.results.exchanges import Answered
from tests.agent.llm import stand_in

ROOT = Path(__file__).resolve().parents[3]
SECRET = "sk-a-secret-0123456789"
COMMAND = [sys.executable, "-P", "-m", "kernelite.cli", "optimize"]


@pytest.mark.skipif(compiler() is None, reason="needs g++")
def test_an_example_is_optimised_by_whoever_answers_in_a_folder(tmp_path: Path) -> None:
    questions, run = tmp_path / "questions", tmp_path / "run"
    questions.mkdir()
    line = [*COMMAND, str(ROOT / "examples" / "llama.py:build"), "--sites", "layers:add+rms_norm",
            "--llm", f"files:{questions}", "--budget-seconds", "300", "--max-candidates", "12",
            "--out", str(run), "--json"]  # fmt: skip
    with subprocess.Popen([sys.executable, stand_in.__file__, str(questions)]) as answering:
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, check=False,
                env=os.environ | {"OPENAI_API_KEY": SECRET, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        finally:
            answering.kill()
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["model"]["verified"] is True
    bodies = [event.body for event in log.read(run)]
    answers = [body for body in bodies if isinstance(body, Answered) and body.ending == "done"]
    assert {"plan", "generate", "repair"} <= {answer.purpose for answer in answers}
    written = {body.id for body in bodies if isinstance(body, records.Candidate)
               and body.proposer == "llm"}  # fmt: skip
    passed = {body.candidate for body in bodies if isinstance(body, records.Evaluated)
              and body.verdict.passed}  # fmt: skip
    assert written & passed
    held = [path for path in tmp_path.rglob("*")
            if path.is_file() and SECRET.encode() in path.read_bytes()]  # fmt: skip
    assert held == []


@pytest.mark.parametrize(
    ("option", "said"),
    [(["--llm", "openai:gpt-5"], "no key for openai: set OPENAI_API_KEY"),
     (["--llm", "nobody:x"], "there are: anthropic, compatible, files, openai, replay"),
     (["--llm", "files:x", "--backend", "pytorch"], "--backend may be: cpp, triton"),
     (["--llm", "files:x", "--target", "h200"], "kernels of this CPU only so far")],
)  # fmt: skip
def test_a_model_that_cannot_be_asked_is_refused_before_anything_is_written(
    tmp_path: Path, option: list[str], said: str
) -> None:
    pytest.importorskip("openai")
    line = [
        *COMMAND,
        str(ROOT / "examples" / "llama.py:build"),
        *option,
        "--out",
        str(tmp_path / "r"),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "r").exists()
