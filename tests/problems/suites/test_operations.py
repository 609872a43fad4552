"""The suite of operations: every problem at every size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kernelite.errors import UsageError
from kernelite.problems import suites
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Problem, instantiate, read, workloads
from kernelite.problems.suites import operations

MIB = 1 << 20
PROBLEMS = operations.problems()
FILES = sorted(operations.FOLDER.glob("*.py"))


def size_bytes(problem: Problem) -> int:
    """Bytes of all arguments and outputs; computes nothing."""
    with FakeTensorMode():
        instance = instantiate(problem, 0)
        tensors = instance.arguments + instance.run()
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def at(workload: str) -> list[Problem]:
    """The problems of one size."""
    return [problem for problem in PROBLEMS if problem.workload == workload]


def test_the_suite_is_found_by_its_name() -> None:
    assert "operations" in suites.names()
    assert suites.suite("operations") == PROBLEMS


def test_an_unknown_suite_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no 'opera' in suites; there are: .*operations"):
        suites.suite("opera")


def test_every_operation_has_three_sizes() -> None:
    assert len(PROBLEMS) == 3 * len(FILES) >= 51
    for path in FILES:
        assert workloads(read(path)) == ["small", "medium", "large"]


@pytest.mark.parametrize("problem", at("small") + at("medium"), ids=lambda p: p.name)
def test_outputs_are_finite_and_not_constant(problem: Problem) -> None:
    for output in instantiate(problem, 0).run():
        assert output.dtype == torch.float32
        assert output.isfinite().all()
        assert output.numel() == 1 or output.std() > 0


@pytest.mark.parametrize("problem", at("small"), ids=lambda p: p.name)
def test_another_seed_gives_other_outputs(problem: Problem) -> None:
    for one, other in zip(
        instantiate(problem, 0).run(), instantiate(problem, 1).run(), strict=True
    ):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("problem", at("small"), ids=lambda p: p.name)
def test_the_operation_traces_with_every_argument_in_use(problem: Problem) -> None:
    instance = instantiate(problem, 0)
    graph = flat_graph(instance.model, instance.inputs)
    holders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    assert len(holders) == len(instance.arguments)
    assert all(node.users for node in holders)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_without_a_workload_a_file_means_its_medium_one(path: Path) -> None:
    default, medium = instantiate(read(path), 0), instantiate(read(path, "medium"), 0)
    for one, other in zip(default.arguments, medium.arguments, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("problem", at("small"), ids=lambda p: p.name)
def test_small_fits_a_core_s_own_caches(problem: Problem) -> None:
    assert size_bytes(problem) < MIB


@pytest.mark.parametrize("problem", at("medium"), ids=lambda p: p.name)
def test_medium_fits_the_shared_cache(problem: Problem) -> None:
    assert MIB < size_bytes(problem) < 16 * MIB


@pytest.mark.parametrize("problem", at("large"), ids=lambda p: p.name)
def test_large_streams_from_memory(problem: Problem) -> None:
    assert 16 * MIB <= size_bytes(problem) < 160 * MIB
