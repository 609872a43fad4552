"""``kernelite check`` on the command line: what it shows, writes and keeps."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXPLOITS = Path(__file__).resolve().parents[1] / "exploits"
SOFTMAX = EXPLOITS / "problems" / "softmax.py"
RIGHT = EXPLOITS / "honest" / "online_softmax.cpp"
WRONG = EXPLOITS / "correctness" / "no_maximum.cpp"
FORBIDDEN = EXPLOITS / "tampering" / "patches_softmax.py"


def kernelite(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kernelite.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def check(folder: Path, candidate: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return kernelite(folder, "check", candidate, "--problem", SOFTMAX, "--no-timing", *words)


def test_a_right_kernel_passes_the_strictest_policy_and_keeps_nothing(tmp_path: Path) -> None:
    done = check(tmp_path, RIGHT, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["verdict"], document["policy"]) == (0, "passed", "strict")
    assert document["reproduction"] is None
    assert list(tmp_path.iterdir()) == []
    policy = next(stage for stage in document["stages"] if stage["name"] == "policy")
    assert policy["status"] == "passed"


def test_a_failure_is_kept_so_that_it_fails_again_in_the_same_way(tmp_path: Path) -> None:
    first = json.loads(check(tmp_path, WRONG, "--json").stdout)
    folder = tmp_path / first["reproduction"]
    (command,) = (
        line.strip() for line in (folder / "README.md").read_text().splitlines()
        if line.startswith("    kernelite ")
    )  # fmt: skip
    done = kernelite(folder, *shlex.split(command)[1:], "--json")
    again = json.loads(done.stdout)
    assert done.returncode == 1
    assert {again[name] == first[name] for name in ("stage", "reason", "log", "seed")} == {True}
    assert json.loads((folder / "verdict.json").read_text())["stage"] == first["stage"]


def test_stages_become_test_cases_for_junit(tmp_path: Path) -> None:
    check(tmp_path, WRONG, "--junit", "found.xml")
    suite = ElementTree.parse(tmp_path / "found.xml").getroot()
    assert suite.attrib["failures"] == "1"
    failed = [case.attrib["name"] for case in suite if case.find("failure") is not None]
    assert failed == ["accuracy"]


def test_what_static_finds_becomes_sarif_with_its_line(tmp_path: Path) -> None:
    check(tmp_path, FORBIDDEN, "--sarif", "found.json")
    run = json.loads((tmp_path / "found.json").read_text())["runs"][0]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    line = FORBIDDEN.read_text().splitlines()[place["region"]["startLine"] - 1]
    assert line.startswith("torch.softmax =")
    assert result["level"] == "error"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [result["ruleId"]]


def test_a_stage_can_be_explained(tmp_path: Path) -> None:
    said = check(tmp_path, FORBIDDEN, "--explain", "static").stdout
    assert "Does the source reach for what a kernel has no business with?" in said
    assert "line 7: torch.softmax = ..." in said


def test_only_some_stages_can_be_asked(tmp_path: Path) -> None:
    document = json.loads(check(tmp_path, RIGHT, "--stages", "smoke,accuracy", "--json").stdout)
    assert [stage["name"] for stage in document["stages"]] == ["smoke", "accuracy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stages", "smok"), "no stage 'smok'; there are: admission, static"),
        (("--explain", "nothing"), "no stage 'nothing'"),
        (("--policy", "lax"), "no policy 'lax'; there are: strict, fused, free"),
        (("--require-isolation", "5"), "less than or equal to 4"),
        (("--device", "cuda:99"), "there"),
        (("--device", "tpu"), "no device 'tpu' here; there"),
    ],
)
def test_a_name_that_there_is_not_gets_one_line(
    tmp_path: Path, words: tuple[str, str], said: str
) -> None:
    done = check(tmp_path, RIGHT, *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


def test_a_bench_of_a_corpus_tells_cheats_from_honest_kernels(tmp_path: Path) -> None:
    for name in ("problems/softmax.py", "honest/dispatch.py", "correctness/zeros.py"):
        copied = tmp_path / "corpus" / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text((EXPLOITS / name).read_text())
    lie = tmp_path / "corpus" / "fallback" / "right.py"
    lie.parent.mkdir()
    lie.write_text("# problem: softmax\n# caught: smoke numeric\nimport torch\n"
                   "def run(x):\n    return torch.softmax(x, -1)\n")  # fmt: skip
    done = kernelite(tmp_path, "bench", "redteam", "--corpus", "corpus", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    outcomes = {row["name"]: row["outcome"] for row in document["rows"]}
    assert outcomes == {
        "correctness/zeros.py": "caught", "honest/dispatch.py": "accepted",
        "fallback/right.py": "missed",
    }  # fmt: skip
    assert kernelite(tmp_path, "bench", "redteam", "--corpus", "nowhere").returncode == 2
