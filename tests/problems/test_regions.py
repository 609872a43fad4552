from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kernelite.problems.graph import flat_graph
from kernelite.problems.naming import label_of
from kernelite.problems.operators import name_of
from kernelite.problems.problem import flat_tensors
from kernelite.problems.regions import Region, partition
from tests.models import HIDDEN, Of, decoder

X = torch.randn(2, 4, 8)
W = torch.randn(8, 8)


def cut(function: Callable[..., Any], *inputs: Tensor) -> list[Region]:
    return partition(flat_graph(Of(function), inputs))


def inside(region: Region) -> list[str]:
    return [name_of(node) for node in region.nodes]


@cache
def decoder_regions() -> list[Region]:
    model, words = decoder()
    return partition(flat_graph(model, [words]))


def labelled(label: str) -> list[Region]:
    return [r for r in decoder_regions() if label_of(r.kind, r.graph) == label]


def test_every_region_of_a_decoder_is_found_and_named() -> None:
    counts = Counter(label_of(r.kind, r.graph) for r in decoder_regions())
    assert counts == {
        "linear": 15, "rotary": 4, "add+rms_norm": 4, "attention": 2, "swiglu": 2,
        "embedding": 1, "rms_norm": 1,
    }  # fmt: skip


def test_equal_layers_have_one_key() -> None:
    for label in ("attention", "swiglu", "rotary"):
        assert len({region.key for region in labelled(label)}) == 1


def test_the_residual_that_only_the_last_norm_reads_makes_another_key() -> None:
    counts = Counter(region.key for region in labelled("add+rms_norm"))
    assert sorted(counts.values()) == [1, 3]


def test_linears_of_other_sizes_have_other_keys() -> None:
    shapes = {r.key: tuple(r.inputs[1].meta["val"].shape) for r in labelled("linear")}
    assert sorted(shapes.values()) == [(32, 32), (32, 64), (50, 32), (64, 32)]


def test_the_rotation_of_queries_and_keys_is_one_problem() -> None:
    q, k = labelled("rotary")[:2]
    assert q.key == k.key
    assert q.inputs[0] is not k.inputs[0]
    assert q.inputs[1:] == k.inputs[1:]


def test_a_region_s_path_is_what_its_modules_have_in_common() -> None:
    paths = [r.path for r in decoder_regions()]
    assert paths[0] == "embed"
    assert labelled("attention")[1].path == "layers.1.attention"
    assert labelled("add+rms_norm")[0].path == "layers.0"
    assert labelled("add+rms_norm")[-1].path == ""


def test_every_region_alone_gives_the_values_of_the_whole() -> None:
    model, words = decoder()
    host = flat_graph(model, [words])
    values: dict[fx.Node, Any] = {}

    class Keeper(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            values[n] = super().run_node(n)
            return values[n]

    with torch.no_grad():
        Keeper(host).run(words, *model.state_dict().values())
        for region in partition(host):
            found = region.graph(*(values[n] for n in region.inputs))
            wanted = [values[n] for n in region.outputs]
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_regions_come_in_the_order_of_their_first_operator() -> None:
    model, words = decoder()
    host = flat_graph(model, [words])
    order = {node: index for index, node in enumerate(host.graph.nodes)}
    firsts = [order[region.nodes[0]] for region in partition(host)]
    assert firsts == sorted(firsts)


def test_no_operator_that_computes_is_in_two_regions() -> None:
    taken = Counter(
        n for r in decoder_regions() for n in r.nodes if name_of(n) in ("mul", "linear")
    )
    assert set(taken.values()) == {1}


def test_inputs_are_tensors_then_parameters_then_buffers() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).eval()
    norm = partition(flat_graph(model, [torch.randn(3, 8)]))[1]
    states = [node.meta.get("state") for node in norm.inputs]
    assert states == [None, "1.weight", "1.bias", "1.running_mean", "1.running_var"]


def test_views_of_an_input_stay_outside() -> None:
    region = cut(lambda x: x.transpose(1, 2).view(2, 8, 4) + 1, X)[0]
    assert inside(region) == ["add"]
    assert region.inputs[0].meta["val"].shape == (2, 8, 4)


def test_views_that_the_region_reads_by_several_ways_come_inside() -> None:
    def rotated(x: Tensor) -> Tensor:
        return torch.cat((-x[..., 4:], x[..., :4]), -1) * x

    region = cut(rotated, X)[0]
    assert [tuple(node.meta["val"].shape) for node in region.inputs] == [(2, 4, 8)]
    assert inside(region).count("slice") == 2


def test_a_copy_that_feeds_a_region_comes_inside() -> None:
    region = cut(lambda x: x.transpose(1, 2).reshape(2, 32) + 1, X)[0]
    assert inside(region) == ["reshape", "add"]
    assert region.inputs[0].meta["val"].stride() == (32, 1, 8)


def test_repeated_keys_come_into_attention() -> None:
    def model(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return F.scaled_dot_product_attention(q, k, v)

    q, k = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8)
    region = cut(model, q, k, k.clone())[0]
    assert region.kind == "attention"
    shapes = sorted(tuple(n.meta["val"].shape[:2]) for n in region.inputs)
    assert shapes == [(1, 2), (1, 2), (1, 4)]


def test_the_views_behind_attention_belong_to_it_and_to_nothing_else() -> None:
    attention = labelled("attention")[0]
    assert inside(attention)[-2:] == ["transpose", "reshape"]
    assert attention.outputs[0].meta["val"].shape == (2, 8, HIDDEN)
    assert all(attention.nodes[-1] not in r.nodes for r in decoder_regions() if r is not attention)


def test_a_mask_made_in_the_model_belongs_to_the_region() -> None:
    assert {"ones", "triu"} <= set(inside(labelled("attention")[0]))
    assert len(labelled("attention")[0].inputs) == 3


def test_a_long_chain_of_constants_is_an_input() -> None:
    def model(x: Tensor) -> Tensor:
        made = torch.arange(8.0)
        for step in range(12):
            made = made * 0.5 + step
        return x * made

    region = cut(model, X)[-1]
    assert "arange" not in inside(region)
    assert len(region.inputs) == 2


def test_what_is_read_outside_is_an_output() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> Tensor:
        residual = x + r
        return F.linear(residual.softmax(-1), w) + residual

    region = cut(model, X, X, W)[0]
    assert inside(region) == ["add", "softmax"]
    assert [name_of(node) for node in region.outputs] == ["add", "softmax"]


def test_an_output_of_the_model_is_an_output_of_its_region() -> None:
    region = cut(lambda x: (hidden := x.exp(), hidden + 1), X)[0]
    assert [name_of(node) for node in region.outputs] == ["exp", "add"]


def test_keys_tell_other_strides_and_dtypes_apart() -> None:
    looks = [X, X.transpose(1, 2).contiguous().transpose(1, 2), X.double()]
    assert len({cut(lambda x: x.exp(), x)[0].key for x in looks}) == 3


def test_keys_tell_other_constants_apart() -> None:
    assert cut(lambda x: x * 2, X)[0].key != cut(lambda x: x * 3, X)[0].key


@pytest.mark.parametrize("function", [lambda x: x.view(-1), lambda x: x.sort(-1)[0], lambda x: x])
def test_where_nothing_is_computed_there_is_no_region(function: Callable[..., Any]) -> None:
    assert cut(function, X) == []


def test_scale_in_attention_is_part_of_the_key() -> None:
    def scaled(scale: float) -> str:
        return cut(lambda q: F.scaled_dot_product_attention(q, q, q, scale=scale), X)[0].key

    assert scaled(1 / math.sqrt(8)) != scaled(1.0)


def test_nested_outputs_do_not_disturb_the_cut() -> None:
    regions = cut(lambda x: {"a": [x.exp(), None], "b": x.neg()}, X)
    assert [inside(r) for r in regions] == [["exp"], ["neg"]]
    assert len(flat_tensors(regions[0].graph(X))) == 1
