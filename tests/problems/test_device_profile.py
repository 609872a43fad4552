"""Which node of a graph a recorded event belongs to; the times themselves need a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kernelite.problems import device_profile
from kernelite.problems.graph import flat_graph
from kernelite.problems.placing import place


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x + 1, -1).sum(0)


def test_every_node_of_the_graph_has_its_own_time() -> None:
    graph, x = flat_graph(Twice(), (torch.randn(64, 64),)), torch.randn(64, 64)
    runner = device_profile._Marked(graph)
    with torch.profiler.profile(acc_events=True) as profiler:
        runner.run(x)
    marks = [e for e in profiler.events() or () if e.name.startswith(device_profile.MARK)]
    found = device_profile.by_node(marks)
    assert set(found) == {node.name for node in graph.graph.nodes}
    assert set(found.values()) == {0}  # no GPU has worked for it


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU here")
def test_the_gpu_works_longer_for_more_and_not_for_views() -> None:
    class Uneven(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ x + 1).transpose(0, 1)

    graph = flat_graph(Uneven(), (torch.randn(2048, 2048),))
    place(graph, "cuda")
    times = device_profile.node_times(graph, [torch.randn(2048, 2048, device="cuda")])
    assert times["matmul"] > times["add"] > times["transpose"] == 0
