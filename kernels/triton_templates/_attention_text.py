"""What of an attention's kernel follows from the graph: where heads lie, what changes scores."""

from __future__ import annotations

from torch import fx

from kernelite.kernels.matching.attention import Attention
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.scores import Add, Band, Fill, Scale, Step
from kernelite.kernels.matching.source import Source
from kernelite.kernels.triton_templates._source import Work
from kernelite.kernels.triton_templates._text import (
    distinct,
    index,
    literal,
    matrix,
    place,
    results,
    term,
)
from kernelite.kernels.triton_templates._views import arguments

#: Fewer queries than this would leave most of a matrix unit's rows empty, so that the heads of a
#: group share a block.
FEW_QUERIES = 16


def packed(attention: Attention) -> int:
    """How many heads share a block of rows, and what is read of their common k and v."""
    return attention.group if attention.scores.queries < FEW_QUERIES else 1


def masks(attention: Attention) -> list[Source]:
    """The tensors that are read for every score, in the order of their steps."""
    return [step.mask for step in attention.scores.steps if isinstance(step, (Fill, Add))]


def visible(queries: int, keys: int, band: Band | None) -> int:
    """How many scores of a head its band does not hide."""
    if band is None:
        return queries * keys
    ends = ((max(0, i + band.low), min(keys - 1, i + band.high)) for i in range(queries))
    return sum(max(0, last + 1 - first) for first, last in ends)


def work(attention: Attention, graph: fx.GraphModule) -> Work:
    """Each tensor once, two products of the visible scores; packed sequences count as one."""
    scores, v, given = attention.scores, attention.v, arguments(graph)
    wide = scores.q.layout.shape[2] + v.layout.shape[2]
    seen = visible(scores.queries, scores.keys, attention.band)
    flops, size = 2 * scores.lead * seen * wide, results(graph)[0].nbytes
    for source in (scores.q, scores.k, v, *masks(attention)):
        size += distinct(source.layout) * given[argument(source.root)].itemsize
    return Work(size, flops, matrix(given[argument(scores.q.root)].dtype))


def places(attention: Attention) -> str:
    """A function of a group of heads and rows in it: where all of it lies."""
    group, queries = packed(attention), attention.scores.queries
    where = {
        "q": _rows(attention.scores.q.layout), "k": _head(attention.scores.k.layout),
        "v": _head(attention.v.layout), "out": _rows(attention.out),
    }  # fmt: skip
    split = f"first + row // {queries}, row % {queries}" if group > 1 else "head, row"
    return f'''\
@triton.jit
def places(head, row):
    """Indices of heads and queries, offsets of q's rows, of k and v, of the output's rows."""
    first = head * {group}
    lead, query = {split}
    return lead, query, {where["q"]}, {where["k"]}, {where["v"]}, {where["out"]}
'''


def _rows(layout: Layout) -> str:
    """As a vector, though the rows may all lie at one place."""
    return f"query * {layout.step(1)} + {_offset(layout, 'lead')}"


def _head(layout: Layout) -> str:
    return _offset(layout, "first")


def _offset(layout: Layout, name: str) -> str:
    found = index(layout.dims[0], name)
    return f"{found} + {layout.offset}" if layout.offset else found


def scored(attention: Attention) -> str:
    """A function that makes of a block of scores what the graph does; empty if that is nothing."""
    steps = attention.scores.steps[bool(attention.band) + bool(attention.bounds) :]
    if not steps:
        return ""
    lines, number = list[str](), 0
    for step in steps:
        lines += _step(attention, step, f"mask{number}")
        number += isinstance(step, (Fill, Add))
    heads = "    lead = lead[:, None]\n" if packed(attention) > 1 else ""
    body = "".join(f"    {line}\n" for line in lines)
    return f'''\
@triton.jit
def scored(score, inside, lead, query, key, mask0, mask1):
    """What the softmax is of: ``score``, scaled and masked."""
{heads}{body}    return score
'''


def _step(attention: Attention, step: Step, mask: str) -> list[str]:
    match step:
        case Band(low, high, fill, added):
            hidden = f"score + {literal(fill)}" if added else literal(fill)
            seen = f"(key - query >= {low}) & (key - query <= {high})"
            return [f"score = tl.where({seen}, score, {hidden})"]
        case Scale(factor):
            return [f"score *= {literal(factor)}"]
        case Fill(source, value):
            hides = f"({term(source.term)}) != 0"
            return [_load(attention, source, mask),
                    f"score = tl.where({hides}, {literal(value)}, score)"]  # fmt: skip
        case Add(source):
            return [_load(attention, source, mask), f"score += {term(source.term)}"]
    raise ValueError(f"{step} changes no score")


def _load(attention: Attention, source: Source, mask: str) -> str:
    """Only what is there, in as few dimensions as the mask has."""
    at = place(source.layout, "lead", "query", "key")
    by_row = "query" in at or ("lead" in at and packed(attention) > 1)
    real = ["inside[:, None]"] * by_row + [f"(key < {attention.scores.keys})"] * ("key" in at)
    loaded = f"tl.load({mask} + {at}" + (f", {' & '.join(real)}, 0)" if real else ")")
    return f"x = {loaded}" + (".to(tl.float32)" if source.c_type == "float" else "")
