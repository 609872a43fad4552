"""Graphs that were traced on one device and make their tensors on another."""

from __future__ import annotations

import torch
from torch import nn

from kernelite.problems.graph import flat_graph
from kernelite.problems.placing import place


class Masked(nn.Module):
    """Makes a mask on its own, holds a constant, and moves a tensor by name."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(4, device=x.device).to(x.device, torch.float32) > 1
        return torch.where(mask, x * self.scale, torch.zeros((), device=x.device))


def test_a_graph_traced_without_contents_runs_on_the_cpu() -> None:
    with torch.device("meta"):
        model, x = Masked(), torch.randn(3, 4)
    graph = flat_graph(model, (x,))
    assert "meta" in graph.code
    place(graph, "cpu")
    assert "meta" not in graph.code


def test_a_graph_is_moved_with_its_constants() -> None:
    graph = flat_graph(Masked(), (torch.randn(3, 4),))
    place(graph, "meta")
    (made,) = graph(torch.randn(3, 4, device="meta"))
    assert made.is_meta
    assert all(buffer.is_meta for buffer in graph.buffers())


def test_a_graph_that_comes_home_computes_what_it_did() -> None:
    x = torch.randn(3, 4)
    graph = flat_graph(Masked(), (x,))
    before = graph(x)[0]
    place(graph, "cpu")
    assert torch.equal(graph(x)[0], before)
    assert torch.equal(before, torch.where(torch.arange(4) > 1, x * 2, 0))
