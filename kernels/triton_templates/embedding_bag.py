"""Bags of embeddings on a GPU: rows of a table are added up as they arrive.

Arithmetic.  Each of a bag's E rows of C columns is read once, at a random
place, for C additions or multiply-adds: half an operation per byte in float32,
so memory is the bound by far, and more exactly its latency: a program must have
enough rows on their way.  It therefore takes ``block_e`` rows of its bag at
once, all in flight together, and as many columns as there are up to
``block_c``; short bags and narrow tables leave a program little to do, so that
one warp of ``num_warps`` is enough and many programs share a multiprocessor.
The looked-up rows, E times as large as the result, are never in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.embedding_bag import Bags, Part, parts
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.source import Source
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._text import (
    ARRANGED,
    allocation,
    literal,
    opening,
    place,
    results,
    term,
)
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments

BODY = Path(__file__).with_name("_embedding_bag_body.py")
WIDEST = 512  # columns of a program


@dataclass(frozen=True, slots=True)
class EmbeddingBagPlan:
    """A graph of bags of embeddings; see `kernels.templates.Plan`."""

    parts: Sequence[Part]
    graph: fx.GraphModule

    @property
    def label(self) -> str:
        """``embedding_bag``, its kind if that is not a plain sum, its number of parts."""
        kinds = {_kind(part.bags) for part in self.parts} - {""}
        name = f"embedding_bag ({', '.join(sorted(kinds))})" if kinds else "embedding_bag"
        return name if len(self.parts) == 1 else f"{name} x {len(self.parts)}"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Rows and columns that a program has at once, and its warps."""
        columns = max(part.bags.rows.table.layout.shape[1] for part in self.parts)
        entries = max(part.bags.rows.indices.layout.shape[1] for part in self.parts)
        widest = min(WIDEST, power_of_two(columns))
        return {
            "block_e": tuple(n for n in (8, 4, 16, 32) if n < 2 * entries) or (1,),
            "block_c": (widest, *((widest // 2,) if widest > 32 else ())),
            "num_warps": (1, 2, 4),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        (made,) = results(self.graph)
        sources = [_sources(part.bags) for part in self.parts]
        roots = [source.root for own in sources for source in own.values()]
        given = "".join(f"        {key}={value},\n" for key, value in choices.items())
        functions, calls = [ARRANGED], []
        for number, (part, own) in enumerate(zip(self.parts, sources, strict=True)):
            functions += [_entry(number, part.bags), _bag(number, part)]
            names = [argument(own[name].root) if name in own else "None"
                     for name in ("table", "indices", "weights", "offsets")]  # fmt: skip
            constants = "".join(f"        {k}={v},\n" for k, v in _constants(number, part).items())
            calls.append(f"    embedding_bag(\n        {', '.join(names)}, out,\n"
                         f"{constants}{given}    )\n")  # fmt: skip
        run = (
            f"{opening(self.graph, roots)}    out = {allocation(made, argument(roots[0]))}\n"
            f"{''.join(calls)}    return out\n"
        )
        label = f"{self.label}: {', '.join(_shape(part) for part in self.parts)}, {made.dtype}"
        return written(label, self._work(made), BODY, "\n\n".join([*functions, run]))

    def _work(self, made: torch.Tensor) -> Work:
        size, flops, given = made.nbytes, 0, arguments(self.graph)
        for part in self.parts:
            entries = prod(part.bags.rows.indices.layout.shape)
            columns = part.bags.rows.table.layout.shape[1]
            own = _sources(part.bags)
            size += entries * columns * given[argument(own["table"].root)].itemsize
            size += sum(entries * given[argument(own[name].root)].itemsize
                        for name in ("indices", "weights") if name in own)  # fmt: skip
            flops += entries * columns * (2 if "weights" in own else 1)
        return Work(size, flops)


def _kind(bags: Bags) -> str:
    if bags.largest:
        return "max"
    weighted = bags.rows.weights is not None
    return "mean" if bags.divides else "weighted" if weighted else ""


def _shape(part: Part) -> str:
    rows, columns = part.bags.rows.table.layout.shape
    entries = prod(part.bags.rows.indices.layout.shape)
    return f"{entries} entries in {part.bags.count} bags of a table {rows} x {columns}"


def _sources(bags: Bags) -> dict[str, Source]:
    """The arguments that a part reads, by the kernel's names for them."""
    found = {"table": bags.rows.table, "indices": bags.rows.indices,
             "weights": bags.rows.weights, "offsets": bags.offsets}  # fmt: skip
    return {name: source for name, source in found.items() if source is not None}


def _constants(number: int, part: Part) -> dict[str, object]:
    bags, table = part.bags, part.bags.rows.table.layout
    return {
        "bags": bags.count, "entry": f"entry{number}", "bag": f"bag{number}",
        "table_rows": table.shape[0], "columns": table.shape[1],
        "start": table.offset, "row": table.step(0),
        "wraps": bags.rows.wraps, "padding": bags.padding, "largest": bags.largest,
        "divides": bags.divides, "scale": literal(bags.rows.scale),
    }  # fmt: skip


def _entry(number: int, bags: Bags) -> str:
    """A function of entries: their indices and weights."""
    indices, weights = bags.rows.indices, bags.rows.weights
    weight = "    weight = tl.full(entry.shape, 1.0, tl.float32)\n"
    if weights is not None:
        read = f"tl.load(weights + {place(weights.layout, 'bag', 'entry')} + entry * 0, used, 0)"
        read += ".to(tl.float32)" if weights.c_type == "float" else ""
        weight = f"    x = {read}\n    weight = {term(weights.term)}\n"
    return f'''\
@triton.jit
def entry{number}(indices, weights, bag, entry, used):
    """Which rows of the table these entries of a bag are, and what they weigh."""
    x = tl.load(indices + {place(indices.layout, "bag", "entry")} + entry * 0, used, 0)
    index = {term(indices.term)}
{weight}    return index, weight
'''


def _bag(number: int, part: Part) -> str:
    """A function of a bag: where its entries begin and end, where its result goes."""
    bags, out = part.bags, place(part.out, "bag", "0")
    entries = bags.rows.indices.layout.shape[1]
    if bags.offsets is None:
        bounds = f"    start, stop = 0, {entries}\n"
    else:
        starts = bags.offsets.layout
        at = [f"offsets + {place(starts, name)}" for name in ("bag", "(bag + 1)")]
        bounds = (
            f"    x = tl.load({at[0]})\n    start = tl.maximum({term(bags.offsets.term)}, 0)\n"
            f"    x = tl.load({at[1]}, bag + 1 < {starts.shape[0]}, {entries})\n"
            f"    stop = tl.minimum({term(bags.offsets.term)}, {entries})\n"
        )
    return f'''\
@triton.jit
def bag{number}(offsets, bag):
    """Its first entry, the one behind its last, and the place of its result."""
{bounds}    return start, stop, {out}
'''


class EmbeddingBagTemplate:
    """Rows added up in registers, many of them on their way."""

    def match(self, graph: fx.GraphModule) -> EmbeddingBagPlan | None:
        """A plan if the graph is nothing but bags of embeddings, side by side."""
        found = parts(widened(graph))
        if found is None or any(abs(part.bags.rows.scale) == inf for part in found):
            return None
        return EmbeddingBagPlan(found, graph)


TEMPLATE = EmbeddingBagTemplate()
