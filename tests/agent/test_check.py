"""`kernelite check`, as a person runs it: right kernels pass, wrong ones name their stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelite.agent.check import NO_TIMING, load
from kernelite.errors import UsageError
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.harness.verdict import Failed, Reason, Verdict
from kernelite.problems.problem import read

PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, -1)


WORKLOADS = {"wide": {"columns": 65}}


def get_inputs(columns=33):
    return [torch.randn(16, columns)]


def get_init_inputs(columns=33):
    return []
"""
SOFTMAX = """\
// kernelite: {"entry": "softmax",
//   "args": ["in0", "out0", "i64: in0.shape[0]", "i64: in0.shape[1]"]}
#include <cmath>
#include <cstdint>

extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * columns;
    float* out = y + r * columns;
    float largest = in[0], sum = 0;
    for (int64_t i = 1; i < columns; ++i) largest = in[i] > largest ? in[i] : largest;
    for (int64_t i = 0; i < columns; ++i) sum += out[i] = std::exp(in[i] - largest);
    for (int64_t i = 0; i < columns; ++i) out[i] /= sum;
  }
  END
}
"""
RIGHT = SOFTMAX.replace("END", "")
WRONG_IN_ONE_ELEMENT = SOFTMAX.replace("END", "y[5 * columns + 7] *= 1.001f;")
FIRST_ROWS_ONLY = RIGHT.replace("r < rows", "r < rows / 2")
ANSWERS_ONCE = """\
// kernelite: {"entry": "softmax",
//   "args": ["in0", "out0", "i64: in0.shape[0]", "i64: in0.shape[1]"]}
#include <cmath>
#include <cstdint>

float kept[16 * 33];
bool known = false;

extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows && !known; ++r) {
    float sum = 0;
    const float* in = x + r * columns;
    float* out = kept + r * columns;
    for (int64_t i = 0; i < columns; ++i) sum += out[i] = std::exp(in[i]);
    for (int64_t i = 0; i < columns; ++i) out[i] /= sum;
  }
  known = true;
  for (int64_t i = 0; i < rows * columns; ++i) y[i] = kept[i];
}
"""
CRASHES = SOFTMAX.replace("END", "*reinterpret_cast<volatile int*>(8) = 1;")
MODEL_NEW = """
import torch


class ModelNew(torch.nn.Module):
    def forward(self, x):
        e = torch.exp(x - x.max(-1, keepdim=True).values)
        return e / e.sum(-1, keepdim=True)
"""
RUN = """
import torch


def run(x):
    return torch.nn.functional.softmax(x, dim=-1)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One fork server for all candidates that are judged without a command line."""
    started = Server()
    yield started
    started.close()


def judged(server: Server, folder: Path, name: str, source: str, workload: str = "") -> Verdict:
    """The verdict on a candidate file, without timing."""
    (folder / name).write_text(source)
    (folder / "problem.py").write_text(PROBLEM)
    problem = read(folder / "problem.py", workload)
    with Judge(problem, server, 1) as judge:
        return judge.evaluate(load(folder / name), NO_TIMING, "cpu")


def command(folder: Path, name: str, source: str, *more: str, **told: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``kernelite check``."""
    (folder / "problem.py").write_text(PROBLEM)
    (folder / name).write_text(source)
    line = [sys.executable, "-P", "-m", "kernelite.cli", "check", str(folder / name)]
    line += ["--problem", str(folder / "problem.py"), "--json", *more]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | told)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "source", "workload"),
    [
        ("softmax.cpp", RIGHT, ""),
        ("softmax.cpp", RIGHT, "wide"),
        ("new.py", MODEL_NEW, ""),
        ("run.py", RUN, ""),
    ],
    ids=["cpp", "cpp of another width", "ModelNew", "run"],
)
def test_a_right_kernel_passes_in_every_form(
    server: Server, tmp_path: Path, name: str, source: str, workload: str
) -> None:
    assert judged(server, tmp_path, name, source, workload).passed


@pytest.mark.parametrize(
    ("source", "stage", "reason"),
    [
        (FIRST_ROWS_ONLY, "smoke", Reason.NUMERIC),
        (ANSWERS_ONCE, "accuracy", Reason.NUMERIC),
        (CRASHES, "smoke", Reason.CRASH),
        (RIGHT.replace("columns; ++i)", "columns; ++i", 1), "build", Reason.BUILD),
    ],
    ids=["first rows only", "answers once", "crashes", "does not compile"],
)
def test_a_wrong_kernel_is_refused_at_a_stage(
    server: Server, tmp_path: Path, source: str, stage: str, reason: Reason
) -> None:
    found = judged(server, tmp_path, "softmax.cpp", source).evaluation
    assert isinstance(found, Failed)
    assert (found.stage, found.reason) == (stage, reason)


def test_the_command_refuses_one_wrong_element_and_names_the_stage(tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "softmax.cpp", WRONG_IN_ONE_ELEMENT, "--no-timing")
    assert code == 1, err
    found = json.loads(out)
    assert (found["schema"], found["verdict"]) == ("kernelite.check/1", "failed")
    assert (found["stage"], found["reason"], found["timing"]) == ("smoke", "numeric", None)


def test_the_command_times_a_right_kernel_against_the_best_baseline(tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "softmax.cpp", RIGHT)
    assert code == 0, err
    found = json.loads(out)
    assert (found["verdict"], found["stage"]) == ("passed", None)
    assert found["accuracy_ratio"] > 0
    timing = found["timing"]
    assert timing["kind"] == "measured"
    assert timing["lower"] <= timing["median"] <= timing["upper"]
    assert timing["median"] == min(timing[b]["median"] for b in ("eager", "compile"))


def test_an_unknown_workload_lists_those_there_are(tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "softmax.cpp", RIGHT, "--workload", "tall")
    assert (code, out) == (2, "")
    assert err.strip() == "kernelite: no workload 'tall' in problem@tall; there are: wide"


def test_a_suffix_that_no_backend_reads_lists_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "softmax.txt").write_text("")
    with pytest.raises(UsageError, match=r"\.cpp"):
        load(tmp_path / "softmax.txt")


def test_a_missing_compiler_is_the_machine_s_fault(tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "softmax.cpp", RIGHT, PATH=str(tmp_path))
    assert (code, out) == (3, "")
    assert err.startswith("kernelite: no g++ found")
    assert len(err.splitlines()) == 1
