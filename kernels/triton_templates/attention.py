"""Scaled dot-product attention on a GPU, without the matrix of scores.

Arithmetic.  Every visible score costs 2 D operations for q @ k^T and 2 DV for
weights @ v, and nothing is read or written but q, k, v and the output: a head
of S queries and S keys has S / 2 operations per byte in float16.  An H200 has
about 200, so from a few hundred queries on the matrix units are the bound, and
what counts is tiles that keep them busy (``block_m``, ``block_n``) while the
next keys arrive (``num_stages``).  One query has one operation per byte: the
bound is the memory that k and v come from, so the heads of a group share each
read, and the keys are split among enough programs to fill the device
(``splits``), whose parts a second launch combines.  float32 has no matrix unit
that keeps its digits on every device; its products use vector units, in tiles
small enough for the registers.

The method is that of Milakov and Gimelshein (arXiv:1805.02867) and Dao et al.
(arXiv:2205.14135, 2307.08691).  Keys that a band of the mask hides are not
read, so a NaN there does not spread as it does where weights of zero are
multiplied with it.  A NaN in a query or a visible key makes its row NaN;
PyTorch's fused operator has zeros there if a row has fewer keys than a vector
of the CPU, and more of them NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.devices import gpu
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.attention import Attention, attention
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.scores import Sequences
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._attention_text import (
    FEW_QUERIES,
    masks,
    packed,
    places,
    scored,
    work,
)
from kernelite.kernels.triton_templates._source import REFERENCE, written
from kernelite.kernels.triton_templates._text import (
    ARRANGED,
    allocation,
    literal,
    opening,
    results,
)
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments

BODY = Path(__file__).with_name("_attention_body.py")
MOST_MASKS = 2
WIDEST = 256  # columns of a head: more do not fit the registers beside their sums
SHORTEST_SPLIT = 256  # keys
SHARED_BYTES = 64 << 10  # of a program on gfx90a and gfx942, the least of all targets


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """A graph that is one attention; see `kernels.templates.Plan`."""

    attention: Attention
    graph: fx.GraphModule

    @property
    def label(self) -> str:
        """See `kernels.matching.attention.Attention`."""
        return self.attention.label

    @property
    def kind(self) -> torch.dtype:
        """The type of q, k and v in memory."""
        return arguments(self.graph)[argument(self.attention.scores.q.root)].dtype

    @property
    def space(self) -> Mapping[str, tuple[Choice, ...]]:
        """Sizes of the tiles, among how many programs a row's keys are split, warps and stages."""
        scores, v = self.attention.scores, self.attention.v
        rows = packed(self.attention) * scores.queries
        wide = max(scores.q.layout.shape[2], v.layout.shape[2])
        tall, long = _tiles(wide, self.kind)
        if rows <= FEW_QUERIES:  # few registers hold them, and more programs fit
            long = tuple(sorted(long))
        # Keys and values of a tile, which three stages hold twice beside queries and weights.
        stage_bytes = 2 * max(long) * power_of_two(wide) * self.kind.itemsize
        return {
            "block_m": tuple(n for n in tall if n < 2 * rows) or (16,),
            "block_n": tuple(n for n in long if n < 2 * scores.keys) or (16,),
            "splits": self._splits(rows, tall[0]),
            "num_warps": (8, 4) if wide > 128 and self.kind.itemsize == 2 else (4, 8),
            "num_stages": (2, 1, 3) if 2 * stage_bytes < SHARED_BYTES else (2, 1),
        }

    def _splits(self, rows: int, block: int) -> tuple[int, ...]:
        """First as many as give every multiprocessor of the `REFERENCE` GPU two programs."""
        multiprocessors = gpu.find(REFERENCE).multiprocessors
        assert multiprocessors is not None
        scores = self.attention.scores
        programs = -(-rows // block) * scores.lead // packed(self.attention)
        most, wanted = max(1, scores.keys // SHORTEST_SPLIT), 2 * int(multiprocessors.value)
        best = 1
        while best * 2 <= most and best * programs < wanted:
            best *= 2
        return (best, *(n for n in (best * 2, best // 2, 1) if 1 <= n <= most and n != best))

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        shapes = [source.layout.shape for source in (self.attention.scores.q, self.attention.v)]
        label = f"{self.label}: q {shapes[0]}, v {shapes[1]}, {self.kind}"
        return written(label, work(self.attention, self.graph), BODY, self._run(choices))

    def _run(self, choices: Choices) -> str:
        """The text of what is specific to the graph, and ``run``."""
        found, scores = self.attention, self.attention.scores
        adjusts = scored(found)
        read = [scores.q, scores.k, found.v, *masks(found)]
        names = [argument(source.root) for source in read]
        names += ["None"] * (3 + MOST_MASKS - len(names))
        names.append(argument(found.bounds.root) if found.bounds else "None")
        read += [found.bounds] if found.bounds else []
        constants = {**self._constants(), "scored": "scored" if adjusts else None, **choices}
        given = "".join(f"        {name}={value},\n" for name, value in constants.items())
        functions = [ARRANGED, places(found), *([adjusts] if adjusts else [])]
        return (
            "\n\n".join(functions)
            + f"""

{opening(self.graph, (source.root for source in read))}\
    out = {allocation(results(self.graph)[0], names[0])}
    return attention(
        {", ".join(names)}, out,
{given}    )
"""
        )

    def _constants(self) -> dict[str, object]:
        found, scores, band = self.attention, self.attention.scores, self.attention.band
        bounds = found.bounds.layout if found.bounds else None
        low = band and band.low > 1 - scores.queries
        high = band and band.high < scores.keys - 1
        return {
            "bounds_count": bounds.shape[0] if bounds else 0,
            "bounds_step": bounds.step(0) if bounds else 0,
            "heads": scores.lead // packed(found), "places": "places", "group": packed(found),
            "queries": scores.queries, "keys": scores.keys,
            "d": scores.q.layout.shape[2], "dv": found.v.layout.shape[2],
            "k_row": scores.k.layout.step(1), "v_row": found.v.layout.step(1),
            "low": band.low if band and low else None, "high": band.high if band and high else None,
            "scale": literal(scores.scale), "out_scale": literal(found.out_scale),
            "hidden_is_zero": found.hidden_rows_are_zero,
        }  # fmt: skip


def _tiles(wide: int, kind: torch.dtype) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and keys of tiles that registers hold, for heads of so many columns."""
    if kind.itemsize == 4:
        return ((32, 16), (32, 16)) if wide <= 64 else ((32, 16) if wide <= 128 else (16,), (16,))
    if wide <= 64:
        return (128, 64, 32), (64, 32, 128)
    return ((64, 128, 32), (64, 32)) if wide <= 128 else ((64, 32), (32, 16))


class AttentionTemplate:
    """softmax(scale * q @ k^T, masked) @ v in one pass over k and v, any spelling."""

    def match(self, graph: fx.GraphModule) -> AttentionPlan | None:
        """A plan if the graph is one attention over its arguments, columns side by side."""
        found = attention(widened(graph))
        if found is None or len(masks(found)) > MOST_MASKS or abs(found.scores.scale) == inf:
            return None
        if not found.bounds and any(isinstance(s, Sequences) for s in found.scores.steps):
            return None
        layouts = (found.scores.q.layout, found.scores.k.layout, found.v.layout, found.out)
        if any(layout.step(2) not in (0, 1) or layout.shape[2] > WIDEST for layout in layouts):
            return None
        roots = (found.scores.q.root, found.scores.k.root, found.v.root)
        if len({arguments(graph)[argument(root)].dtype for root in roots}) > 1:
            return None
        return AttentionPlan(found, graph)


TEMPLATE = AttentionTemplate()
