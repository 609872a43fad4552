"""Gradients of attention on a GPU, with its weights computed anew and never in memory.

Arithmetic.  Five products of S x S scores by D columns (q k^T, grad v^T and the
three gradients) make 10 D operations per visible score, and q, k, v, grad and
the gradients are read or written once: like the forward pass, from a few
hundred queries on the matrix units are the bound.  Two launches: one walks the
keys for each block of queries, twice, first for the sums that the softmax and
its gradient need (peak and share of a row, the mean of its slopes), then for the
queries' gradients; the other walks the queries for each block of keys.  Each
gradient has one owner, so that nothing is added atomically and the same inputs
give the same bits; the price is that both launches compute the scores, the
first one twice: 9 products for 5.  Sums of a block of keys fill the registers
twice as fast as those of a forward pass, hence smaller tiles.

After Dao (arXiv:2307.08691), section 3.1.2, without its stored statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.attention_backward import AttentionBackward, attention_backward
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.source import Source
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._attention_text import visible
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._text import (
    ARRANGED,
    allocation,
    distinct,
    index,
    literal,
    matrix,
    opening,
    results,
)
from kernelite.kernels.triton_templates._views import arguments

BODY = Path(__file__).with_name("_attention_backward_body.py")
WIDEST = 128  # columns of a head
NAMES = ("q", "k", "v", "grad", "dq", "dk", "dv")


@dataclass(frozen=True, slots=True)
class AttentionBackwardPlan:
    """A graph that is the gradients of one attention; see `kernels.templates.Plan`."""

    found: AttentionBackward
    graph: fx.GraphModule

    @property
    def label(self) -> str:
        """``attention_backward``, and whether it is causal or has a window."""
        band = self.found.band
        if band is None:
            return "attention_backward"
        causal = band.low <= 1 - self.found.scores.queries
        return f"attention_backward ({'causal' if causal else 'window'})"

    @property
    def kind(self) -> torch.dtype:
        """The type of q, k, v and grad in memory."""
        return arguments(self.graph)[argument(self.found.scores.q.root)].dtype

    @property
    def space(self) -> Mapping[str, tuple[Choice, ...]]:
        """Queries and keys of a tile, warps and stages."""
        scores = self.found.scores
        wide = max(scores.q.layout.shape[2], self.found.v.layout.shape[2])
        single = self.kind.itemsize == 4
        sizes = ((16,) if wide > 64 else (16, 32)) if single else (32, 64, 16)
        return {
            "block_m": tuple(n for n in sizes if n < 2 * scores.queries) or (16,),
            "block_n": tuple(n for n in sizes if n < 2 * scores.keys) or (16,),
            "num_warps": (8, 4) if single and wide > 64 else (4, 8),
            "num_stages": (1, 2),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        found, made = self.found, results(self.graph)
        roots = [source.root for source in self._read]
        names = [argument(root) for root in roots]
        gradients = (found.dq, found.dk, found.dv)
        lines = [
            f"    {name} = {allocation(made[gradient.number], names[0])}\n"
            for name, gradient in zip(NAMES[4:], gradients, strict=True)
        ]
        order = sorted(range(3), key=lambda i: gradients[i].number)
        given = "".join(f"        {key}={value},\n" for key, value in self._constants(choices))
        run = (
            f"{ARRANGED}\n\n{self._places()}\n\n{opening(self.graph, roots)}{''.join(lines)}"
            f"    attention_backward(\n        {', '.join(names)}, dq, dk, dv,\n{given}    )\n"
            f"    return {', '.join(NAMES[4 + i] for i in order)}\n"
        )
        shapes = found.scores.q.layout.shape, found.v.layout.shape
        label = f"{self.label}: q {shapes[0]}, v {shapes[1]}, {self.kind}"
        return written(label, self._work(made), BODY, run)

    @property
    def _read(self) -> tuple[Source, ...]:
        return (self.found.scores.q, self.found.scores.k, self.found.v, self.found.grad)

    def _constants(self, choices: Choices) -> list[tuple[str, object]]:
        found, scores, band = self.found, self.found.scores, self.found.band
        low = band.low if band and band.low > 1 - scores.queries else None
        high = band.high if band and band.high < scores.keys - 1 else None
        constants = {
            "places": "places", "heads": scores.lead, "queries": scores.queries,
            "keys": scores.keys, "d": scores.q.layout.shape[2],
            "dv_columns": found.v.layout.shape[2], "low": low, "high": high,
            "scale": literal(scores.scale), "slope": literal(found.slope),
            "dq_scale": literal(found.dq.scale), "dk_scale": literal(found.dk.scale),
            "dv_scale": literal(found.dv.scale), **choices,
        }  # fmt: skip
        return list(constants.items())

    def _places(self) -> str:
        """A function of a head and rows in it: where they lie in each tensor."""
        found = self.found
        layouts = [source.layout for source in self._read]
        layouts += [found.dq.out, found.dk.out, found.dv.out]
        where = ",\n        ".join(_row(layout) for layout in layouts)
        return f'''\
@triton.jit
def places(head, row):
    """Offsets of rows of {", ".join(NAMES)}."""
    return (
        {where},
    )
'''

    def _work(self, made: list[torch.Tensor]) -> Work:
        found, scores, given = self.found, self.found.scores, arguments(self.graph)
        size = sum(value.nbytes for value in made)
        for source in self._read:
            size += distinct(source.layout) * given[argument(source.root)].itemsize
        wide = 3 * scores.q.layout.shape[2] + 2 * found.v.layout.shape[2]
        seen = visible(scores.queries, scores.keys, found.band)
        return Work(size, 2 * scores.lead * seen * wide, matrix(self.kind))


def _row(layout: Layout) -> str:
    found = f"row * {layout.step(1)} + {index(layout.dims[0], 'head')}"
    return f"{found} + {layout.offset}" if layout.offset else found


class AttentionBackwardTemplate:
    """Gradients by blocks of queries and by blocks of keys, each with one owner."""

    def match(self, graph: fx.GraphModule) -> AttentionBackwardPlan | None:
        """A plan if the graph is the three gradients of one attention, columns side by side."""
        found = attention_backward(widened(graph))
        if found is None:
            return None
        plan = AttentionBackwardPlan(found, graph)
        layouts = [source.layout for source in plan._read]
        layouts += [found.dq.out, found.dk.out, found.dv.out]
        if any(layout.step(2) not in (0, 1) or layout.shape[2] > WIDEST for layout in layouts):
            return None
        kinds = {arguments(graph)[argument(source.root)].dtype for source in plan._read}
        return plan if len(kinds) == 1 else None


TEMPLATE = AttentionBackwardTemplate()
