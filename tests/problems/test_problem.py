from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kernelite.errors import UsageError
from kernelite.problems.problem import (
    Problem,
    Signature,
    execute,
    flat_tensors,
    instantiate,
    read,
    workloads,
)

SOURCE = """
import torch


class Model(torch.nn.Module):
    def __init__(self, width, extra):
        super().__init__()
        self.register_buffer("shift", torch.ones(width))
        self.layer = torch.nn.Linear(width, 3)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x, power, pair, flag):
        y = self.layer(x + self.shift) ** power
        return {"y": y, "rest": (pair[0] + pair[1], None, 5)}


WORKLOADS = {"small": {"width": 4}, "large": {"width": 6}}


def get_inputs(width=5):
    pair = [torch.randn(2), torch.randn(2)]
    return [torch.randn(7, width), 2, pair, torch.ones(1, dtype=torch.bool)]


def get_init_inputs(width=5):
    return [width, "word"]
"""
PROBLEM = Problem("sample", SOURCE)


def refused(problem: Problem) -> str:
    with pytest.raises(UsageError) as error:
        instantiate(problem, 0)
    return str(error.value)


def test_flat_arguments_are_the_inputs_tensors_then_the_state() -> None:
    shapes = [tuple(t.shape) for t in instantiate(PROBLEM, 0).arguments]
    assert shapes == [(7, 5), (2,), (2,), (1,), (5,), (3, 5), (3,)]


def test_state_is_the_state_dict_in_its_order_without_transient_buffers() -> None:
    signature = instantiate(PROBLEM, 0).signature
    assert signature.state == ("shift", "layer.weight", "layer.bias")


def test_state_tensors_are_the_model_s_own() -> None:
    instance = instantiate(PROBLEM, 0)
    assert instance.state[0].data_ptr() == instance.model.shift.data_ptr()  # type: ignore[operator, union-attr]


def test_a_model_is_in_evaluation_mode_and_asks_for_no_gradients() -> None:
    model = instantiate(PROBLEM, 0).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_outputs_are_flattened_and_what_is_no_tensor_is_left_out() -> None:
    assert [tuple(t.shape) for t in instantiate(PROBLEM, 0).run()] == [(7, 3), (2,)]
    value = {"b": [torch.zeros(1), None, "x"], "a": (torch.zeros(2), 3.0)}
    assert [len(t) for t in flat_tensors(value)] == [1, 2]


def test_one_seed_gives_one_instance_and_another_seed_another() -> None:
    first, again, other = (instantiate(PROBLEM, seed).arguments for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[5], other[5])


def test_a_signature_tells_tensors_from_constants() -> None:
    signature = instantiate(PROBLEM, 0).signature
    assert signature.inputs == ({"tensor": True}, 2, None, {"tensor": True})
    assert signature.init_inputs == (5, "word")


def test_constructor_arguments_that_json_cannot_hold_are_unknown() -> None:
    text = SOURCE.replace('[width, "word"]', "[width, torch.float32]")
    assert instantiate(Problem("p", text), 0).signature.init_inputs is None


def test_a_signature_survives_json() -> None:
    signature = instantiate(PROBLEM, 0).signature
    assert Signature.from_json(json.loads(json.dumps(signature.as_json()))) == signature


def test_workloads_are_listed_in_the_file_s_order() -> None:
    assert workloads(PROBLEM) == ["small", "large"]


def test_a_workload_reaches_constructor_and_inputs() -> None:
    instance = instantiate(Problem("sample@large", SOURCE, "large"), 0)
    assert instance.arguments[0].shape == (7, 6)
    assert instance.arguments[4].shape == (6,)


def test_an_unknown_workload_lists_those_there_are() -> None:
    said = refused(Problem("sample", SOURCE, "huge"))
    assert said == "no workload 'huge' in sample; there are: small, large"


def test_the_id_depends_on_source_and_workload_but_not_on_the_name() -> None:
    ids = {PROBLEM.id, Problem("p", SOURCE, "small").id, Problem("p", SOURCE + "\n").id}
    assert len(ids) == 3
    assert Problem("other name", SOURCE).id == PROBLEM.id


def test_reading_names_the_problem_after_the_file_and_workload(tmp_path: Path) -> None:
    (tmp_path / "softmax.py").write_text("not even Python (")
    assert read(tmp_path / "softmax.py").name == "softmax"
    assert read(tmp_path / "softmax.py", "wide").name == "softmax@wide"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"], ids=["missing", "not text"])
def test_an_unreadable_file_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "p.py").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read problem file .*p\.py"):
        read(tmp_path / "p.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "problem p does not run: SyntaxError"),
        ("raise ValueError('one\\ntwo')", "problem p does not run: ValueError: one"),
        ("import missing_package", "problem p does not run: ModuleNotFoundError"),
        ("Model = 1", "problem p does not define get_inputs, get_init_inputs;"),
        (SOURCE.replace("super()", "(1 / 0)"), "problem p cannot be built: ZeroDivisionError"),
        (SOURCE.replace("return [width,", "return [width, 1,"), "problem p cannot be built: Type"),
        (SOURCE.replace("pair = [", "pair = [][0], ["), "problem p cannot be built: IndexError"),
    ],
)
def test_a_broken_problem_is_one_line_that_names_it(text: str, said: str) -> None:
    message = refused(Problem("p", text))
    assert message.startswith(said)
    assert "\n" not in message


def test_a_problem_runs_as_a_module_of_its_own() -> None:
    first, second = execute(PROBLEM), execute(PROBLEM)
    assert first is not second
    assert first.Model is not second.Model
