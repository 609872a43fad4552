"""Does a mask keep the tokens of packed sequences apart, whose bounds an argument holds?"""

from __future__ import annotations

from typing import Any

from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import constant, fields, op, shape_of
from kernelite.kernels.matching.source import Source, source


def sequences(mask: fx.Node) -> tuple[Source, bool] | None:
    """Bounds of sequences, and whether ``mask`` (tokens, tokens) is true inside one of them.

    Two tokens are in one sequence if as many bounds lie at or before each of them.
    """
    if op(mask) not in ("eq", "ne"):
        return None
    named, shape = fields(mask), shape_of(mask)
    numbers = [_numbered(named[name]) for name in ("self", "other")]
    if numbers[0] is None or numbers[0] is not numbers[1] or len(shape) < 2:
        return None
    tokens = shape_of(numbers[0])[0]
    row = Layout.strided((tokens,), (1,))
    read = [source(named[name], {numbers[0]: row}) for name in ("self", "other")]
    layouts = [found.layout.expanded(shape) for found in read if found and found.expression == "x"]
    lead = ((),) * (len(shape) - 2)
    along = [Layout((*lead, (), ((tokens, 1),))), Layout((*lead, ((tokens, 1),), ()))]
    wanted = [layout.expanded(shape) for layout in along]
    if layouts not in (wanted, wanted[::-1]):
        return None
    bounds = _bounds(numbers[0], tokens)
    return None if bounds is None else (bounds, op(mask) == "eq")


def _numbered(node: Any) -> fx.Node | None:
    """The node with a number for each token that ``node`` is a view of."""
    while isinstance(node, fx.Node) and op(node) not in ("sum", "searchsorted", "bucketize"):
        node = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    return node if isinstance(node, fx.Node) and len(shape_of(node)) == 1 else None


def _bounds(numbers: fx.Node, tokens: int) -> Source | None:
    """What each token's number counts: the bounds at or before it."""
    named = fields(numbers)
    if op(numbers) == "sum":
        compared = named["self"]
        if op(compared) not in ("ge", "le") or [d % 2 for d in named["dim"] or ()] != [1]:
            return None
        sides = fields(compared)
        order = ("self", "other") if op(compared) == "ge" else ("other", "self")
        token, given = (sides[name] for name in order)
    elif named["right"] and not named.get("out_int32"):
        names = ("self", "sorted_sequence" if op(numbers) == "searchsorted" else "boundaries")
        token, given = (named[name] for name in names)
    else:
        return None
    fixed, found = constant(token), source(given)
    if fixed is None or found is None or fixed.flatten().tolist() != list(range(tokens)):
        return None
    count = found.layout.shape[-1]
    flat = found.at(found.layout.regrouped((count,)))
    if flat is None or flat.term != "x" or flat.c_type not in ("int32_t", "int64_t"):
        return None
    spread = op(numbers) != "sum" or shape_of(named["self"]) == (tokens, count)
    return flat if spread and flat.layout.step(0) is not None else None
