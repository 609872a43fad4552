"""How the kernel of a nest is shaped: the parameters that matter, the likely best value first.

Memory bounds all of these kernels, so that what counts is how many bytes are
under way: a thread has about sixteen elements, whole rows are held in
registers as long as they fit, and short rows share a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from kernelite.kernels.loops.axes import Levels, Loops, lane_axis, reachable
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.loops.passes import passes
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._loops_tile import Partial, Tile, power_of_two

Space = dict[str, Sequence[Choice]]
HELD = 128
"""Elements of all tensors together that a thread holds in registers."""
PER_THREAD, THREADS, MOST_WARPS = 16, 32, 16
PROGRAMS = 528
"""Four for each processor of the largest GPUs."""
FEWEST_ROWS = 4
"""Tiles of rows that a program sums up before it stores as many sums."""
FEW_ROWS = 132
"""Results up to which their reductions are split, if each walks along memory."""
LEAST_COLUMNS, LEAST_ROWS = 4096, 256
"""What is worth a program of its own."""


def sharing(rows: Sequence[int], columns: Sequence[int]) -> int:
    """How many programs at most are to share rows that each of them sums up."""
    at_once = max(1, 1024 // power_of_two(prod(columns)))
    return -(-prod(rows) // (FEWEST_ROWS * at_once))


def kind(nest: Loops) -> str:
    """``elements`` without reductions, ``lanes`` if memory runs along the rows, else ``rows``."""
    if nest.elementwise:
        return "elements"
    return "rows" if lane_axis(nest) is None else "lanes"


def space(nests: Iterable[Loops]) -> Space:
    """The open parameters of these nests."""
    found: Space = {}
    by_kind: dict[str, list[Loops]] = {}
    for nest in nests:
        by_kind.setdefault(kind(nest), []).append(nest)
    if "elements" in by_kind:
        found |= {"block": (1024, 2048, 4096, 512), "block_warps": (4, 8, 2)}
    if rows := by_kind.get("rows"):
        found |= _row_space(rows)
    if "lanes" in by_kind:
        found |= {"lanes": (64, 128, 32, 16), "depth": (32, 64, 16), "lane_warps": (4, 8, 2)}
    if {"chunk", "depth", "programs"} & set(found):
        found["stages"] = (1, 2, 3)
    return found


def _row_space(nests: Sequence[Loops]) -> Space:
    longest = max(map(_longest, nests))
    whole = any(fits(nest, MOST_WARPS) for nest in nests)
    found: Space = {}
    if longest < 2048:
        found["row_tile"] = tuple(dict.fromkeys(max(n, longest) for n in (1024, 2048, 512, 4096)))
    tile = max(longest, 1024)
    if longest > 1024 and not all(map(sums, nests)):
        found |= {"whole": (True, False)} if whole else {}
        found["chunk"] = (4096, 2048, 8192)
        tile = tile if whole else 4096
    few = max(1, min(MOST_WARPS, tile // (PER_THREAD * THREADS)))
    warps = (few, few * 2, few // 2, few * 4)
    if any(map(sums, nests)):
        best = PROGRAMS // 2 * max(1, min(4, 4096 // longest))
        found["programs"] = (best, best * 2, best // 2)
    found["row_warps"] = tuple(n for n in warps if 1 <= n <= MOST_WARPS)
    return found


def tile(nest: Loops, chosen: Choices) -> Tile:
    """The shape of a nest's kernel, which may have smaller tiles than were chosen."""
    stages = int(chosen.get("stages", 1))
    match kind(nest):
        case "elements":
            return Tile(1, int(chosen["block"]), False, int(chosen["block_warps"]))
        case "lanes":
            longest, deep = _longest(nest), int(chosen["depth"])
            lanes = min(int(chosen["lanes"]), power_of_two(prod(a.size for a in nest.rows)))
            chunked = longest > deep
            return Tile(lanes, min(deep, longest), chunked, int(chosen["lane_warps"]), stages)
    longest, warps = _longest(nest), int(chosen["row_warps"])
    chunk = int(chosen.get("chunk", longest))
    if not sums(nest) and longest > chunk and not (chosen.get("whole") and fits(nest, warps)):
        return Tile(1, chunk, True, warps, stages)
    rows = max(1, int(chosen.get("row_tile", 0)) // longest)
    rows = min(rows, power_of_two(prod(axis.size for axis in nest.rows)))
    return Tile(rows, longest, False, warps, stages)


def parts(node: Node, results: int) -> range:
    """Into how many programs to split a reduction with few results; see `stages.Limits`."""
    columns = prod(node.args[0].shape[len(node.shape) :])
    if _runs_along_rows(node):
        most = min(PROGRAMS // max(1, results // 64), columns // LEAST_ROWS)
    else:
        most = (
            min(PROGRAMS // max(1, results), columns // LEAST_COLUMNS) if results <= FEW_ROWS else 0
        )
    return range(most, max(most // 4, 1), -1)


def _runs_along_rows(node: Node) -> bool:
    """Whether memory runs along what ``node`` keeps, not along what it reduces."""
    kept = len(node.shape)
    strides = [n.attr[2] for n in _reads(node.args[0]) if len(n.shape) > kept]
    along = sum(any(s == 1 for s in walk[kept:]) for walk in strides)
    return sum(any(s == 1 for s in walk[:kept]) for walk in strides) > along


def _reads(node: Node) -> Iterator[Node]:
    return (here for here in reachable([node]) if here.op == "load")


def _longest(nest: Loops) -> int:
    """The longest row, as a power of two."""
    return max(power_of_two(prod(a.size for a in axes)) for axes in nest.columns.values())


def sums(nest: Loops) -> int:
    """How many sums over rows its programs take."""
    return sum(isinstance(store, Partial) for store in nest.nest.stores)


def fits(nest: Loops, warps: int) -> bool:
    """Whether several passes need a row, and so many warps can hold it whole."""
    held = _held(nest) + sums(nest)
    return held > 1 and _longest(nest) * held <= HELD * THREADS * warps


def _held(nest: Loops) -> int:
    """About how many tensors a program holds at once: what several passes read, and one more."""
    levels, uses = Levels(nest), dict[Node, int]()
    for step in passes(nest, levels, keep=False):
        for node in set(_of_pass(step.roots(), levels)):
            uses[node] = uses.get(node, 0) + 1
    return 1 + sum(count > 1 for count in uses.values())


def _of_pass(roots: Sequence[Node], levels: Levels) -> Iterator[Node]:
    """The loads that a pass over the columns makes."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        here = stack.pop()
        if here not in seen and levels.in_columns(here):
            seen.add(here)
            stack += here.args
            if here.op == "load":
                yield here
