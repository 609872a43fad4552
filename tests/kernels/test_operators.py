from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from kernelite.kernels.kernel import Allocate
from kernelite.kernels.operators import CALLS, operator
from kernelite.problems.graph import flat_graph
from kernelite.problems.tensors import TensorSpec, specs
from tests.models import Of

NUMBERS = count()


class Function:
    """A kernel made of PyTorch calls, which counts its runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.runs = function, 0

    def __call__(
        self, arguments: Sequence[Tensor], allocate: Allocate | None = None
    ) -> list[Tensor]:
        self.runs += 1
        found = self.function(*arguments)
        return [found] if isinstance(found, Tensor) else list(found)


def norm(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    h = x + r
    return h, F.rms_norm(h, (8,), w)


def made(function: Callable[..., Any], *inputs: Tensor) -> tuple[Any, Function, str]:
    """A new operator with the function as kernel and as reference."""
    name, entry = f"k_test_{next(NUMBERS)}", Function(function)
    graph: fx.GraphModule = flat_graph(Of(function), inputs)
    outputs = function(*inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return operator(name, entry, specs(outputs), graph), entry, name


X, R, W = torch.randn(3, 8), torch.randn(3, 8), torch.rand(8)


def test_an_operator_runs_the_kernel_and_counts() -> None:
    run, entry, name = made(lambda x: x * 2, X)
    assert torch.equal(run(X), X * 2)
    run(X)
    assert entry.runs == CALLS[name] == 2


def test_one_output_is_a_tensor_and_several_are_a_tuple() -> None:
    assert isinstance(made(lambda x: x * 2, X)[0](X), Tensor)
    found = made(norm, X, R, W)[0](X, R, W)
    assert [torch.equal(a, b) for a, b in zip(found, norm(X, R, W), strict=True)] == [True, True]


def test_a_name_is_registered_once() -> None:
    run, entry, name = made(lambda x: x * 2, X)
    graph = flat_graph(Of(lambda x: x * 3), [X])
    assert operator(name, Function(lambda x: x * 3), specs([X]), graph) is run
    assert entry.runs == 0


def test_fake_tensors_show_shapes_strides_and_types_without_running_the_kernel() -> None:
    run, entry, _ = made(lambda x: (x.t() * 2, x > 0), X)
    with FakeTensorMode() as mode:
        found = run(mode.from_tensor(X))
    assert [TensorSpec.of(t) for t in found] == [
        TensorSpec((8, 3), (1, 8), "float32"), TensorSpec((3, 8), (8, 1), "bool")
    ]  # fmt: skip
    assert entry.runs == 0


def gradients(function: Callable[..., Any], weight: float = 1.0) -> list[Tensor]:
    held = [t.clone().requires_grad_() for t in (X, R, W)]
    h, y = function(*held)
    (h.sin().sum() * weight + (y**2).sum()).backward()
    return [t.grad for t in held if t.grad is not None]


def test_gradients_are_those_of_the_reference() -> None:
    run, entry, _ = made(norm, X, R, W)
    pairs = zip(gradients(run), gradients(norm), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert entry.runs == 1


def test_only_the_gradients_asked_for_are_computed() -> None:
    run, _, _ = made(norm, X, R, W)
    w = W.clone().requires_grad_()
    run(X, R, w)[1].sum().backward()
    (wanted,) = torch.autograd.grad(norm(X, R, w)[1].sum(), w)
    assert torch.equal(w.grad, wanted)  # type: ignore[arg-type]


def test_an_output_that_nothing_reads_takes_no_part_in_the_gradient() -> None:
    run, _, _ = made(norm, X, R, W)
    x = X.clone().requires_grad_()
    run(x, R, W)[0].sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # type: ignore[arg-type]


def test_outputs_without_gradients_are_allowed() -> None:
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 3, x > 0

    run, _, _ = made(both, X)
    x = X.clone().requires_grad_()
    run(x)[0].sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 3))  # type: ignore[arg-type]


def test_integer_inputs_have_no_gradient() -> None:
    table, words = torch.randn(5, 4), torch.tensor([1, 1, 3])
    run, _, _ = made(lambda i, t: F.embedding(i, t) * 2, words, table)
    held = table.clone().requires_grad_()
    run(words, held).sum().backward()
    assert held.grad is not None
    assert held.grad[:, 0].tolist() == [0, 4, 0, 2, 0]


def test_without_gradients_nothing_is_kept_for_them() -> None:
    run, _, _ = made(lambda x: x * 2, X)
    with torch.no_grad():
        assert run(X.clone().requires_grad_()).grad_fn is None
    with torch.inference_mode():
        assert torch.equal(run(X), X * 2)


def test_a_compiled_function_keeps_the_operator_whole() -> None:
    run, entry, _ = made(norm, X, R, W)
    compiled = torch.compile(
        lambda x, r, w: run(x + 1, r, w)[1] * 2, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(X, R, W), norm(X + 1, R, W)[1] * 2)
    assert entry.runs == 1


def test_gradients_pass_through_a_compiled_function() -> None:
    run, _, _ = made(norm, X, R, W)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(gradients(compiled), gradients(norm), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("test", ["test_schema", "test_faketensor", "test_autograd_registration"])
def test_pytorch_s_own_checks_pass(test: str) -> None:
    run, _, _ = made(norm, X, R, W)
    inputs = tuple(t.clone().requires_grad_() for t in (X, R, W))
    torch.library.opcheck(run, inputs, test_utils=test)
