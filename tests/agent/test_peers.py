"""Other people's checkers beside our judge; a small checkout of our own stands in for theirs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from kernelite.agent.bench import Request, _side_by_side
from kernelite.agent.bench._corpus import problems, specimens
from kernelite.agent.bench._model_new import Unfit, submission
from kernelite.agent.bench._peers import EVALUATION, GUARD, SCRIPT, STATIC, KernelBench, KernelGuard
from kernelite.agent.bench.harness import _their_seconds
from kernelite.agent.bench.redteam import BENCH
from kernelite.errors import UsageError
from kernelite.kernels.kernel import Kernel

EXPLOITS = Path(__file__).resolve().parents[1] / "exploits"
PROBLEMS = problems(EXPLOITS)
EVAL = """
import torch
from types import SimpleNamespace


def eval_kernel_against_ref(reference, candidate, *, device, **trials):
    assert trials == dict(measure_performance=True, num_correct_trials=5, num_perf_trials=100)
    assert torch.cuda.is_available()
    if "not for this harness" in candidate:
        raise OSError("the harness is broken")
    context = {}
    exec(reference, context)
    exec(candidate, context)
    models = []
    for kind in (context["Model"], context["ModelNew"]):
        torch.manual_seed(42)
        models.append(kind(*context["get_init_inputs"]()).to(device))
    inputs = context["get_inputs"]()
    with torch.no_grad():
        right = torch.allclose(*(model(*inputs) for model in models))
    return SimpleNamespace(compiled=True, correctness=right, metadata={"device": str(device)})
"""
STATIC_CHECK = """
def validate_kernel_static(code, backend, precision):
    return "cheat" not in code, ["says so"] * ("cheat" in code), []
"""
GUARD_SOURCE = """
import json
import sys

assert sys.argv[1] == "--api-mode"
found = [{"pattern": "SAYS_SO"}] if "cheat" in sys.stdin.read() else []
print(json.dumps({"should_filter": bool(found), "matched_patterns": found,
                  "classification": "hacked" if found else "valid"}))
"""
RIGHT = "import torch\n\n\ndef run(x):\n    return torch.softmax(x, -1)\n"
ZEROS = "import torch\n\n\ndef run(x):\n    return torch.zeros_like(x)\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The functions of KernelBench that we call."""
    folder = tmp_path_factory.mktemp("checkout")
    (package := folder / "src" / "kernelbench").mkdir(parents=True)
    for name, text in (("__init__", ""), ("timing", ""), ("eval", EVAL)):
        (package / f"{name}.py").write_text(text)
    (package / "kernel_static_checker.py").write_text(STATIC_CHECK)
    return folder


@pytest.fixture
def peer(checkout: Path) -> Iterator[KernelBench]:
    """That checkout as a peer."""
    with closing(KernelBench(checkout)) as found:
        yield found


def outcomes(peer: KernelBench, source: str, patience_s: float = 60.0) -> tuple[str, str]:
    """What its evaluation says of a softmax, and why."""
    candidate = submission(Kernel("pytorch", source), PROBLEMS["softmax"])
    found = peer.ask(PROBLEMS["softmax"].source, candidate, patience_s)[EVALUATION]
    return found.outcome.value, found.text


def kernelite(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kernelite.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("source", "outcome", "text"),
    [
        (RIGHT, "accepted", ""),
        (ZEROS, "refused", ""),
        (RIGHT.replace("return", "return 1 / 0 *"), "refused", "ZeroDivisionError"),
        (RIGHT + "# not for this harness\n", "error", "OSError: the harness is broken"),
        (RIGHT + "import os\nos._exit(9)\n", "error", "exit code 9"),
        (RIGHT + "import ctypes\nctypes.string_at(64)\n", "error", "SIGSEGV"),
        (RIGHT + "print('x' * (1 << 20))\n", "accepted", ""),
        (RIGHT + "assert not torch.cuda.is_available()\n", "accepted", ""),
    ],
    ids=["right", "wrong", "raises", "their own exception", "exits", "crashes", "prints", "no GPU"],
)
def test_a_verdict_is_theirs_and_what_is_no_verdict_stands_apart(
    peer: KernelBench, source: str, outcome: str, text: str
) -> None:
    found, why = outcomes(peer, source)
    assert found == outcome
    assert text in why


def test_what_never_ends_is_ended(peer: KernelBench) -> None:
    assert outcomes(peer, RIGHT + "while True: pass\n", 4.0) == ("timeout", "no answer within 4 s")


def test_their_script_refuses_what_either_of_its_parts_refuses(peer: KernelBench) -> None:
    candidate = submission(Kernel("pytorch", f"# a cheat\n{RIGHT}"), PROBLEMS["softmax"])
    found = peer.ask(PROBLEMS["softmax"].source, candidate, 60.0)
    said = {name: finding.outcome.value for name, finding in found.items()}
    assert said == {STATIC: "refused", EVALUATION: "accepted", SCRIPT: "refused"}


@pytest.mark.parametrize("name", ["goto_rows.cpp", "callable_object.py", "constant_buffer.py"])
def test_native_code_a_function_and_a_module_get_the_references_weights(
    peer: KernelBench, name: str
) -> None:
    (specimen,) = (s for s in specimens(EXPLOITS) if s.name == f"honest/{name}")
    candidate = submission(specimen.kernel(), PROBLEMS["rms_norm"])
    found = peer.ask(PROBLEMS["rms_norm"].source, candidate, 60.0)
    assert {finding.outcome.value for finding in found.values()} == {"accepted"}


def test_every_file_of_the_corpus_can_be_submitted_or_says_why_not() -> None:
    unfit = set()
    for specimen in specimens(EXPLOITS):
        try:
            text = submission(specimen.kernel(), PROBLEMS[specimen.problem])
            assert "ModelNew" in text, specimen.name
        except Unfit as why:
            unfit.add(str(why))
    assert unfit == {
        "the problem has other shapes", "the problem has other types", "the problem has gradients",
        "it is for a GPU, and only our judge emulates one",
    }  # fmt: skip


def test_kernelguard_reads_what_kernelbench_executes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernelguard.py").write_text(GUARD_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    guard = KernelGuard()
    found = [guard.ask("", text, 60.0)[GUARD] for text in ("a cheat", "honest")]
    assert [f.outcome.value for f in found] == ["refused", "accepted"]
    assert found[0].text == "hacked: SAYS_SO"


def test_the_document_counts_accepted_cheats_and_leaves_out_what_was_not_asked(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "problems").symlink_to(EXPLOITS / "problems")
    for name in ("correctness/half_a_gradient.py", "tampering/patches_softmax.py",
                 "correctness/zeros.py", "honest/lambdas.cpp"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(EXPLOITS / name)
    document = BENCH.run(Request(corpus=tmp_path, kernelbench=checkout), lambda *_: None)
    nothing = dict.fromkeys(("accepted", "refused", "error", "timeout", "not applicable"), 0)
    assert document["peers"][EVALUATION] == {
        "correctness": nothing | {"refused": 1, "not applicable": 1},
        "tampering": nothing | {"accepted": 1},
        "honest": nothing | {"accepted": 1},
    }
    assert document["peers"][_side_by_side.OURS]["tampering"] == nothing | {"refused": 1}
    console = Console(width=200, record=True, file=(tmp_path / "shown").open("w"))
    console.print(BENCH.view(document))
    assert "KernelBench, evaluation" in console.export_text()


def test_what_a_verdict_of_theirs_takes_is_told_with_and_without_its_process(
    peer: KernelBench,
) -> None:
    whole, alone = _their_seconds(peer)
    assert whole > alone > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("redteam", "--kernelbench", "nowhere"), "checkout of KernelBench: --kernelbench FOLDER"),
        (("harness", "--kernelbench", "nowhere"), "no src/kernelbench/eval.py in nowhere"),
    ],
)
def test_a_folder_without_kernelbench_is_a_usage_error_in_one_line(
    words: tuple[str, ...], told: str
) -> None:
    done = kernelite("bench", *words, "--corpus", EXPLOITS)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


@pytest.mark.skipif(find_spec("kernelguard") is not None, reason="it is installed")
def test_kernelguard_has_to_be_installed() -> None:
    with pytest.raises(UsageError, match="pip install kernelguard"):
        KernelGuard()
