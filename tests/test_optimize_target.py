"""`kernelite optimize --target` and `resume` where the GPU is not: real judge, real compilers."""

from __future__ import annotations

import json
import os
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
from kernelite.results.evidence import Compiled, Shortlisted

pytest.importorskip("triton")

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


def build():
    return nn.Sequential(Gate(), nn.Linear(256, 16)), (torch.randn(4096, 256),)


def weightless():
    with torch.device("meta"):
        return build()
"""
#: The only template that the runs of this file know: right, and with a spilling choice.
TEMPLATE = '''
from kernelite.kernels.kernel import Kernel
from kernelite.problems.operators import name_of

SOURCE = """import torch
import triton
import triton.language as tl


@triton.jit
def gate(x, w, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0) * columns
    for start in range(0, columns, BLOCK):
        c = start + tl.arange(0, BLOCK)
        inside = c < columns
        v = tl.load(x + row + c, inside, 0.0)
        g = (v * 0.5 + 1) * tl.load(w + c, inside, 0.0)
        z = g * g - v
        tl.store(y + row + c, tl.where(z < 0, 0.0, z) * 0.25, inside)


def run(x, w):
    x, w = x.contiguous(), w.contiguous()
    once = x.{copy}
    y = torch.empty_like(x)
    gate[(x.shape[0],)](once, w, y, x.shape[1], BLOCK={block}, num_warps=4)
    return y
"""
CALLS = ["mul", "add", "mul", "mul", "sub", "relu", "mul"]


class Plan:
    label = "gate"
    space = {"copy": ["clone()", "view(x.shape)"], "block": [256]}

    def render(self, choices):
        return Kernel("triton", SOURCE.format(**choices))


class Template:
    def match(self, graph):
        calls = [name_of(n) for n in graph.graph.nodes if n.op == "call_function"]
        return Plan() if calls == CALLS else None


TEMPLATE = Template()
'''
DRIVER = """
import sys
from kernelite.kernels import triton_templates
triton_templates.__path__ = [sys.argv.pop(1)]
from kernelite.cli import main
main()
"""


@dataclass(frozen=True)
class Workshop:
    """A folder with a model, a template for it, and the cache that all runs of this file share."""

    folder: Path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        line = [sys.executable, "-P", "-c", DRIVER, str(self.folder / "templates")]
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*line, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=self.folder, env=os.environ | own,
        )  # fmt: skip

    def kernelite(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command that runs to its end."""
        with self.start(*arguments) as started:
            text, said = started.communicate()
        return started.returncode, text, said

    def bodies(self, out: str, kind: type) -> list[Any]:
        """Those in the log; none while there is no log."""
        return [event.body for event in self.events(out) if isinstance(event.body, kind)]

    def events(self, out: str) -> list[Event]:
        try:
            return log.read(self.folder / out)
        except UsageError:
            return []


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("target")
    (folder / "model.py").write_text(MODEL)
    (folder / "templates").mkdir()
    (folder / "templates" / "gate.py").write_text(TEMPLATE)
    return Workshop(folder)


@pytest.fixture(scope="module")
def whole(workshop: Workshop) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and progress of one run, from the beginning to the end."""
    code, text, said = workshop.kernelite(
        "optimize", "model.py:build", "--target", "h200", "--out", "whole", "--json",
        "--budget-seconds", 90,
    )  # fmt: skip
    assert text, said
    return code, json.loads(text), said


Whole = tuple[int, dict[str, Any], str]


def test_the_run_ends_with_kernels_of_unknown_speed(whole: Whole) -> None:
    code, found, _ = whole
    assert code == 0
    assert (found["device"], found["absent"], found["kind"]) == ("H200", True, "modelled")
    searched = [site for site in found["sites"] if site["shortlist"]]
    assert len(searched) == 1
    for kernel in searched[0]["shortlist"]:
        assert (kernel["verdict"], kernel["kind"], kernel["speedup"]) == (
            "passed",
            "emulated",
            None,
        )
        assert kernel["evidence"]["arch"] == "sm_90"
        assert kernel["evidence"]["registers"] > 0


def test_the_kernel_that_moves_less_is_to_be_timed_first(whole: Whole) -> None:
    """The default choice copies its input, which is a launch and a tensor more."""
    (shortlist,) = (site["shortlist"] for site in whole[1]["sites"] if site["shortlist"])
    first, last = (kernel["evidence"] for kernel in shortlist)
    assert (first["launches"], last["launches"]) == (1, 2)
    assert last["moved_bytes"] - first["moved_bytes"] == 2 * 4096 * 256 * 4
    assert shortlist[0]["choices"]["copy"] == "view(x.shape)"


def test_nothing_of_the_run_is_a_measured_time(workshop: Workshop, whole: Whole) -> None:
    assert all(value is None for value in whole[1]["model"]["latency_us"].values())
    for evaluated in workshop.bodies("whole", records.Evaluated):
        assert (evaluated.verdict.kind, evaluated.verdict.timing) == ("emulated", None)
    (ranked,) = workshop.bodies("whole", records.Ranked)
    assert [site.measured_us for site in ranked.sites] == [None] * len(ranked.sites)
    assert all(site.modelled_us > 0 for site in ranked.sites)
    assert workshop.bodies("whole", records.Winner) == []


def test_what_a_person_reads_says_what_is_missing(workshop: Workshop, whole: Whole) -> None:
    _, shown, _ = workshop.kernelite("report", "whole", "--terminal")
    html = (workshop.folder / "whole" / "report.html").read_text()
    for text in (shown, html):
        assert "speed unknown" in text
        assert "kernelite resume whole" in text
        assert "H200" in text
    assert "measured on" not in shown.lower()
    assert '<span class="kind measured">' not in html


def test_the_folder_holds_what_another_machine_needs(workshop: Workshop, whole: Whole) -> None:
    folder = workshop.folder / "whole"
    (left,) = workshop.bodies("whole", Shortlisted)
    sources = {c.id: c.source for c in workshop.bodies("whole", records.Candidate)}
    kept = sorted((folder / "kernels").iterdir())
    assert [path.read_text() for path in kept] == [sources[name] for name in left.candidates]
    assert len(list((folder / "problems").iterdir())) == len(whole[1]["sites"])
    assert (folder / "model" / "model.py").read_text() == MODEL


def test_without_the_gpu_a_finished_run_says_what_it_waits_for(
    workshop: Workshop, whole: Whole
) -> None:
    before = workshop.events("whole")
    code, text, said = workshop.kernelite("resume", "whole")
    assert (code, text) == (3, "")
    assert said.count("\n") == 1
    assert "waits for a GPU, H200" in said
    assert workshop.events("whole") == before


def test_a_killed_run_goes_on_even_where_the_models_file_is_not(workshop: Workshop) -> None:
    (workshop.folder / "moved.py").write_text(MODEL)
    with workshop.start(
        "optimize", "moved.py:build", "--target", "mi300x", "--out", "killed",
        "--budget-seconds", 90,
    ) as started:  # fmt: skip
        while not workshop.bodies("killed", Compiled):
            assert started.poll() is None, started.communicate()[1]
            time.sleep(0.02)
        started.send_signal(signal.SIGKILL)
    before = workshop.events("killed")
    assert before[-1].kind != "run_finished"
    (workshop.folder / "moved.py").unlink()

    code, text, said = workshop.kernelite("resume", "killed", "--json")
    after = workshop.events("killed")
    assert code == 0, said
    assert after[: len(before)] == before
    assert len({event.uid for event in after}) == len(after)
    assert after[-1].kind == "run_finished"
    assert len({(c.candidate, c.problem) for c in workshop.bodies("killed", Compiled)}) == len(
        workshop.bodies("killed", Compiled)
    )
    assert json.loads(text)["device"] == "MI300X"
    assert any(site["shortlist"] for site in json.loads(text)["sites"])


def test_a_model_without_weights_is_ranked_and_nothing_is_searched(workshop: Workshop) -> None:
    code, text, said = workshop.kernelite(
        "optimize", "model.py:weightless", "--target", "b200", "--dry-run", "--out", "dry", "--json"
    )
    assert code == 0, said
    found = json.loads(text)
    assert found["sites"][0]["attainable"] > 2
    assert workshop.bodies("dry", records.Candidate) == []
    captured = workshop.bodies("dry", records.Captured)
    assert {one.reproduced for one in captured} == {None}
    assert "meta" not in captured[0].source


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model.py:weightless",), "--target h200"),
        (("model.py:build", "--target", "h2000"), "did you mean 'h200'"),
        (("model.py:build", "--target", "h200", "--backend", "cpp"), "leave --backend out"),
        (("model.py:build", "--target", "h200", "--device", "cuda"), "give one of them"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    workshop: Workshop, arguments: tuple[str, ...], words: str
) -> None:
    code, text, said = workshop.kernelite("optimize", *arguments, "--out", "refused")
    assert (code, text) == (2, "")
    assert words in said.splitlines()[-1]
