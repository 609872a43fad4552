"""What bench gpu does without a GPU: what it would measure, and how it shows what it did."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from kernelite.agent.bench import Request, _gpu_race, _gpu_rivals, _gpu_selection, bench, gpu, run
from kernelite.errors import MachineError, UsageError
from kernelite.harness import processors
from kernelite.harness.placement import CPU
from kernelite.harness.remote import Server
from kernelite.kernels.devices import Ceiling
from kernelite.kernels.devices.gpu_ceilings import GpuCalibration
from kernelite.problems.problem import Problem
from kernelite.problems.suites import families

CEILINGS = GpuCalibration(
    "H200", Ceiling(4e12, "bytes/s", "copy"), {"float16": Ceiling(8e14, "flops/s", "mm")}, {}, 1.0
)
SUM = """
import torch

WORKLOADS = {"large_1024x4096_float16": {"rows": 1024}}


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.matrix_exp(x.float()) if x.shape[0] == 2 else x + x


def get_inputs(rows=1024):
    return [torch.zeros(rows, 4096, dtype=torch.float16)]


def get_init_inputs(rows=1024):
    return []
"""


def ratio(name: str, median: float, claim: str) -> dict[str, Any]:
    return {"baseline": name, "median": median, "lower": 0.99 * median, "upper": 1.01 * median,
            "candidate_us": 10.0, "baseline_us": 10.0 * median, "rounds": 50, "detectable": 0.01,
            "claim": claim}  # fmt: skip


def row(problem: str, **changed: Any) -> dict[str, Any]:
    return {"problem": problem, "family": "softmax", "label": "softmax", "choices": {}, "tried": 8,
            "kernel_us": 10.0, "ratios": {}, "graph": {}, "missing": {}, "copy_share": 0.91,
            "product_share": None, "gpu": None, "note": None, "seconds": 9.0} | changed  # fmt: skip


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"schema": gpu.SCHEMA, "kind": "measured", "date": "2026-11-21 12:00 UTC",
            "machine": {"gpu": "NVIDIA H200"}, "ceilings": CEILINGS.as_json(), "rows": list(rows),
            "not_measured": ["geglu@large_tanh_4096x11008_float16"],
            "not_here": {"Quack": "no module 'quack'"}}  # fmt: skip


def shown(found: dict[str, Any]) -> str:
    text = io.StringIO()
    Console(file=text, width=160).print(bench("gpu").view(found))
    return text.getvalue()


def test_forward_passes_come_by_importance_then_the_others_and_backward_passes() -> None:
    names = ["new", "softmax_backward", "softmax", "attention_backward", "rms_norm", "attention"]
    assert _gpu_selection.by_importance(names) == [
        "attention", "rms_norm", "softmax", "new", "attention_backward", "softmax_backward"
    ]  # fmt: skip


def test_each_family_comes_once_before_any_twice() -> None:
    problems = _gpu_selection.problems(families.names())
    names = [problem.name.partition("@")[0] for problem in problems]
    first = names[: len(families.names())]
    assert sorted(first) == families.names()
    assert first.index("rms_norm") < first.index("rms_norm_backward")
    assert all(problem.workload.endswith("_float16") for problem in problems[: len(first)])
    assert all(problem.workload.startswith("large_") for problem in problems)


def test_a_problem_that_there_is_no_time_for_is_listed_and_not_measured() -> None:
    problems = _gpu_selection.problems(["rms_norm"])[:3]
    budget = _gpu_selection.Budget(time.monotonic() + _gpu_selection.FIRST_S + 1)
    assert [p.name for p in budget.within(problems)] == [p.name for p in problems]
    late = _gpu_selection.Budget(time.monotonic() + _gpu_selection.FIRST_S - 1)
    assert list(late.within(problems)) == []
    assert late.left_out == [problem.name for problem in problems]


@pytest.mark.parametrize(
    ("name", "workload", "expected"),
    [
        ("softmax", "large_4096x4096_float16", ("softmax",)),
        ("attention", "large_causal_2x32_float16", ("attention", "attention causal")),
        ("bias_activation", "large_gelu_tanh_8x8_float32",
         ("bias_activation", "bias_activation gelu_tanh")),
    ],
)  # fmt: skip
def test_a_family_of_several_kinds_is_known_by_kind_too(
    name: str, workload: str, expected: tuple[str, ...]
) -> None:
    assert _gpu_rivals.keys(Problem(f"{name}@{workload}", "", workload)) == expected


def rival(name: str, family: str, workload: str, places: dict[str, Path] | None = None) -> Any:
    """The rival's ``run``."""
    problem = Problem(f"{family}@{workload}", "", workload)
    scope: dict[str, Any] = {}
    exec(_gpu_rivals.kernels(problem, places or {})[name].source, scope)
    return scope["run"]


def test_the_fused_operator_of_a_norm_computes_what_the_family_does() -> None:
    x, residual, weight = torch.randn(4, 16), torch.randn(4, 16), torch.randn(16)
    total = x + residual
    expected = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-6) * weight
    found = rival("fused operator", "add_rms_norm", "large_4x16_float32")(x, residual, weight)
    torch.testing.assert_close(found, (expected, total))
    torch.testing.assert_close(
        rival("fused operator", "rms_norm", "large_4x16_float32")(total, weight), expected
    )


@pytest.mark.parametrize("name", ["fused operator", "SDPA flash"])
@pytest.mark.parametrize("kind", ["causal", "full"])
def test_attention_of_pytorch_takes_the_familys_arguments(name: str, kind: str) -> None:
    q, (k, v) = torch.randn(1, 4, 8, 16), torch.randn(2, 1, 4, 8, 16)
    mask = torch.ones(8, 8, dtype=torch.bool).tril() if kind == "causal" else None
    expected = F.scaled_dot_product_attention(q, k, v, mask)
    found = rival(name, "attention", f"large_{kind}_1x4x4x8x8x16_float32")(q, k, v)
    torch.testing.assert_close(found, expected)


def test_a_checkout_of_autokernel_gets_the_arguments_in_its_own_order(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    text = "def kernel_fn(x, weight, eps=1e-6):\n    return x.shape, weight.shape, eps\n"
    (tmp_path / "kernels" / "rmsnorm.py").write_text(text)
    places = _gpu_rivals.folders([f"autokernel={tmp_path}"])
    found = rival("AutoKernel", "rms_norm", "large_2x3_float16", places)
    assert found(torch.zeros(2, 3), torch.zeros(3)) == ((2, 3), (3,), 1e-6)
    assert _gpu_rivals.AUTOKERNEL not in _gpu_rivals.missing(places)


def test_a_library_is_found_where_an_option_says_so(tmp_path: Path) -> None:
    (tmp_path / "quack").mkdir()
    (tmp_path / "quack" / "__init__.py").write_text("def softmax(x):\n    return 2 * x\n")
    places = _gpu_rivals.folders([f"quack={tmp_path}"])
    assert "Quack" not in _gpu_rivals.missing(places)
    assert rival("Quack", "softmax", "large_2x3_float16", places)(torch.ones(1)) == 2


@pytest.mark.parametrize("text", ["cutlass=/tmp", "quack", "quack=/no/such/folder"])
def test_a_rival_that_there_is_not_gets_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"no (rival|folder)") as error:
        _gpu_rivals.folders([text])
    assert "\n" not in str(error.value)


def test_shares_are_of_what_was_measured_in_the_same_run() -> None:
    problem = Problem("sum@large_1024x4096_float16", SUM, "large_1024x4096_float16")
    moved_bytes, operations = 2 * 2 * 1024 * 4096, 1024 * 4096
    found = _gpu_race.shares(problem, 10.0, CEILINGS)
    assert found["copy_share"] == pytest.approx(moved_bytes / 10e-6 / 4e12)
    assert found["product_share"] == pytest.approx(operations / 10e-6 / 8e14)
    none = _gpu_race.shares(problem, 10.0, replace(CEILINGS, products={}))
    assert none["product_share"] is None


def test_the_default_choice_is_tried_first_and_none_twice() -> None:
    class Wide:
        label, space = "wide", {"block": [1, 2, 4, 8], "warps": [4, 8], "split": [False, True]}

    tried = [tuple(one.values()) for one in _gpu_race.tried_choices(Wide(), 0)]  # type: ignore[arg-type]
    assert tried[0] == (1, 4, False)
    assert len(set(tried)) == len(tried) == _gpu_race.TRIED


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def test_a_problem_that_no_template_knows_has_no_time(server: Server) -> None:
    source = SUM.replace("x.shape[0] == 2", "x.shape[0] != 2")
    source = source.replace("zeros(rows, 4096", "zeros(rows // 256, 4, 4")
    problem = Problem("exponential@large_1024x4096_float16", source, "large_1024x4096_float16")
    track = _gpu_race.Track(server, server, CPU, CEILINGS, {}, 0, "triton")
    found = _gpu_race.row(problem, track)
    assert found["note"] == "no template of triton knows it"
    assert (found["kernel_us"], found["ratios"]) == (None, {})


def test_a_loss_is_shown_and_what_was_not_measured_too() -> None:
    lost = row("softmax@large_8x8_float16", ratios={
        "eager": ratio("eager", 1.5, "faster"), "Quack": ratio("Quack", 0.8, "slower"),
    })  # fmt: skip
    text = shown(document(lost, row("gelu@large_8x8_float16", note="our kernel is wrong: 2 > 1",
                                    kernel_us=None, copy_share=None)))  # fmt: skip
    assert "losses: softmax@large_8x8_float16 0.80x Quack" in text
    assert "0.80x [0.79, 0.81]" in text
    assert "our kernel is wrong: 2 > 1" in text
    assert "not here: Quack: no module 'quack'" in text
    assert "not measured, no time left: geglu@large_tanh_4096x11008_float16" in text
    assert "losses: none" in shown(document())


@pytest.mark.skipif(not processors.missing("cuda"), reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_is_missing() -> None:
    with pytest.raises(MachineError, match=r"^bench gpu needs an NVIDIA GPU: PyTorch .*$"):
        run("gpu", Request(), None, lambda *_: None)
