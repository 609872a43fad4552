from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from kernelite.problems.graph import Constant, NotTraceable, flat_graph
from kernelite.problems.problem import flat_tensors
from tests.models import Of, decoder


class Output(OrderedDict[str, Any]):
    """Named outputs, as model libraries return them."""


pytree.register_pytree_node(
    Output,
    lambda output: (list(output.values()), list(output)),
    lambda values, names: Output(zip(names, values, strict=True)),  # type: ignore[arg-type]
    serialized_type_name="tests.Output",
)


@dataclass
class Unknown:
    """Outputs that PyTorch cannot take apart."""

    value: Tensor


def computed(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Any:
    """What the model's flat graph gives for its flat arguments, put together again."""
    graph = flat_graph(model.eval(), args, kwargs)
    flat = flat_tensors((args, kwargs or {})) + list(model.state_dict().values())
    with torch.no_grad():
        found = graph(*flat)
    leaves = [x.value if isinstance(x, Constant) else found[x] for x in graph.meta["leaves"]]
    return pytree.tree_unflatten(leaves, graph.meta["out_spec"])


def placeholders(graph: fx.GraphModule) -> list[fx.Node]:
    return list(graph.graph.find_nodes(op="placeholder"))


def refusal(model: nn.Module, *inputs: Any) -> str:
    with pytest.raises(NotTraceable) as reason:
        flat_graph(model, inputs)
    return str(reason.value)


def test_placeholders_are_the_inputs_tensors_then_the_state_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    graph = flat_graph(model, [torch.randn(2, 4)])
    assert [node.meta.get("state") for node in placeholders(graph)] == [None, *model.state_dict()]


def test_numbers_among_the_inputs_are_written_into_the_graph() -> None:
    model = Of(lambda x, power, y, flag: x**power - y if flag else y)
    x, y = torch.rand(3), torch.rand(3)
    assert len(placeholders(flat_graph(model, [x, 3, y, True]))) == 2
    assert torch.equal(computed(model, [x, 3, y, True]), x**3 - y)


def test_the_flat_graph_of_a_decoder_gives_its_outputs() -> None:
    model, words = decoder()
    assert torch.equal(computed(model, [words]), model(words))


def test_fake_tensors_carry_the_real_strides() -> None:
    graph = flat_graph(Of(lambda x: x + 1), [torch.randn(3, 5).t()])
    assert [n.meta["val"].stride() for n in graph.graph.nodes if n.op != "output"] == [(1, 5)] * 2


@pytest.mark.parametrize("given", [("x", "scale", "shift"), ("shift", "x", "scale")], ids=str)
def test_inputs_by_name_may_come_in_any_order(given: tuple[str, ...]) -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor, shift: Tensor) -> Tensor:
            return x * scale - shift

    values = {"x": torch.rand(4), "scale": torch.rand(4), "shift": torch.rand(4)}
    found = computed(Named(), [], {name: values[name] for name in given})
    assert torch.equal(found, values["x"] * values["scale"] - values["shift"])


def test_nested_outputs_keep_their_tree_and_their_constants() -> None:
    model = Of(lambda x: {"a": (x + 1, None), "b": [x * 2, 7, "word"], "c": Output(y=x - 1)})
    x = torch.rand(3)
    found, wanted = computed(model, [x]), model(x)
    assert pytree.tree_structure(found) == pytree.tree_structure(wanted)
    assert isinstance(found["c"], Output)
    assert found["b"][1:] == [7, "word"]
    assert torch.equal(found["a"][0], x + 1)
    assert found["a"][1] is None


def test_nested_inputs_are_flattened_in_their_order() -> None:
    model = Of(lambda pair, table: pair[0] * 2 + pair[1] * 3 + table["k"])
    inputs = [(torch.rand(3), torch.rand(3)), {"k": torch.rand(3)}]
    assert torch.equal(computed(model, inputs), model(*inputs))


def test_an_output_that_is_an_input_is_passed_through() -> None:
    x, y = torch.rand(2), torch.rand(2)
    found = computed(Of(lambda x, y: (y, x, y)), [x, y])
    assert [torch.equal(a, b) for a, b in zip(found, (y, x, y), strict=True)] == [True] * 3


def test_an_output_that_cannot_be_taken_apart_is_not_traceable() -> None:
    assert refusal(Of(Unknown), torch.rand(2))


def test_tied_weights_have_one_placeholder_per_name() -> None:
    model, words = decoder()
    states = [node.meta.get("state") for node in placeholders(flat_graph(model, [words]))]
    assert {"embed.weight", "head.weight"} <= set(states)
    assert len(states) == 1 + len(model.state_dict())


def test_transient_buffers_are_constants_that_remember_their_name() -> None:
    graph = flat_graph(decoder()[0], [decoder()[1]])
    names = {node.meta["state"] for node in graph.graph.find_nodes(op="get_attr")}
    assert names == {f"layers.{i}.attention.{word}" for i in (0, 1) for word in ("cos", "sin")}


def test_transient_buffers_with_similar_names_stay_apart() -> None:
    class Similar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.a_b = nn.Module(), nn.Module()
            self.a.register_buffer("b_c", torch.ones(2), persistent=False)
            self.a_b.register_buffer("c", torch.full((2,), 5.0), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.a.b_c - self.a_b.c  # type: ignore[operator]

    assert torch.equal(computed(Similar(), [torch.ones(2)]), torch.full((2,), -4.0))


def test_tensors_made_in_the_model_s_code_are_constants() -> None:
    weights = torch.rand(3)
    x = torch.rand(3)
    assert torch.equal(computed(Of(lambda x: x * weights), [x]), x * weights)
    assert torch.equal(computed(Of(lambda x: x + torch.tensor([1.0, 2, 3])), [x])[2], x[2] + 3)


def test_batch_norm_in_training_is_not_traceable() -> None:
    model = nn.BatchNorm1d(3).train()
    assert "writes to its buffers" in refusal(model, torch.rand(4, 3))
    assert flat_graph(model.eval(), [torch.rand(4, 3)])


def test_a_model_that_writes_to_its_input_is_not_traceable() -> None:
    assert "writes to its buffers or inputs" in refusal(Of(lambda x: x.add_(1) * 2), torch.rand(3))


def test_writing_to_a_tensor_of_its_own_is_traced() -> None:
    def model(x: Tensor) -> Tensor:
        made = torch.zeros_like(x)
        made[:, 0] = x[:, 1]
        return made.add_(1)

    x = torch.rand(3, 4)
    assert torch.equal(computed(Of(model), [x]), model(x))


def test_a_branch_on_values_is_not_traceable_and_the_reason_is_one_line() -> None:
    reason = refusal(Of(lambda x: x * 2 if x.sum() > 0 else x), torch.rand(3))
    assert reason
    assert "\n" not in reason


def test_a_size_that_depends_on_values_is_not_traceable() -> None:
    assert refusal(Of(lambda x: x[x > 0] * 2), torch.rand(5) - 0.5)


def test_what_a_model_raises_becomes_the_reason() -> None:
    def model(x: Tensor) -> Tensor:
        raise RuntimeError("first line\nsecond line")

    assert "first line" in refusal(Of(model), torch.rand(1))


def test_tracing_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flat_graph(model, [torch.rand(1, 2)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_writes_to_fresh_results_take_nothing_else_apart() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.layers = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), self.norm, nn.ReLU(True))

        def forward(self, x: Tensor) -> Tensor:
            y = self.layers(x)
            y += x
            return y.relu_()  # type: ignore[no-any-return]

    model, x = Residual().eval(), torch.randn(1, 3, 4, 4)
    names = [
        str(n.target).split(".")[1]
        for n in flat_graph(model, [x]).graph.nodes
        if "." in str(n.target)
    ]
    assert names == ["conv2d", "batch_norm", "relu", "add", "relu"]
    assert torch.equal(computed(model, [x]), model(x))


@pytest.mark.parametrize("later", [False, True])
def test_a_write_that_another_tensor_shows_is_seen_there(later: bool) -> None:
    def model(x: Tensor) -> tuple[Tensor, Tensor]:
        made = x * 2
        row = made[0] if not later else x[0]
        made.relu_()
        return made, (made[0] if later else row) + 1

    x = torch.randn(3, 4)
    for found, wanted in zip(computed(Of(model), [x]), model(x), strict=True):
        assert torch.equal(found, wanted)


def test_a_write_into_another_dtype_rounds_as_the_model_does() -> None:
    x, y = torch.randn(4).to(torch.bfloat16), torch.randn(4)
    model = Of(lambda x, y: (x * 1).add_(y))
    found = computed(model, [x, y])
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, model(x, y))
