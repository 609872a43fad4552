"""A product with weights in 8 or 4 bits: 2 M N K operations, K N / 1 or K N / 2 bytes of weights.

With M tokens that is 2 M to 4 M operations per byte.  Decoding (M up to 16)
is bound by the memory that the codes come from, a half or a quarter of what
weights in 16 bits take: they become numbers in registers, never in memory, and
``split`` cuts the summed axis so that all multiprocessors read.  Scales and
zero points of a group are loaded once for all its codes, so that a step along
the axis stays within one.  With hundreds of tokens the matrix units are the
bound, and the weights of a tile are computed once for all its rows: then tall
tiles matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.loops.ir import Unsupported
from kernelite.kernels.matching.behind import behind
from kernelite.kernels.matching.codes import expression, leaves, moved
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument, is_functional, shape_of
from kernelite.kernels.matching.product import Product, product
from kernelite.kernels.matching.source import declared_stride, row_major, source
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._codes import Codes, codes
from kernelite.kernels.triton_templates._epilogue import Epilogue, epilogue
from kernelite.kernels.triton_templates._gemm_tiles import (
    GROUPS,
    MATRIX,
    MOST_PARTS,
    PROGRAMS,
    Tile,
)
from kernelite.kernels.triton_templates._loops_text import helpers
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments, outputs, viewed

BODY = Path(__file__).with_name("_dequantised_body.py")
BYTES = (torch.uint8, torch.int8)
#: Their depth counts levels, which have one weight or two.
TILES = (
    Tile(128, 64, 64, 8, 3), Tile(128, 64, 32, 8, 2), Tile(64, 32, 32, 4, 3),
    Tile(32, 64, 32, 4, 3), Tile(16, 64, 64, 4, 3), Tile(16, 64, 32, 4, 4),
    Tile(16, 32, 64, 4, 4), Tile(16, 16, 16, 4, 2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DequantisedPlan:
    """A product with computed weights; see `kernels.templates.Plan`.

    Attributes:
        left: Host code of the (M, K) operand, and the name of what it views.
        shape: M, N and K.
        out: The result.
    """

    left: tuple[str, str]
    codes: Codes
    epilogue: Epilogue
    shape: tuple[int, int, int]
    given: Mapping[str, torch.Tensor]
    out: torch.Tensor

    @property
    def label(self) -> str:
        """The product with the bits of a weight."""
        return f"dequantised gemm (int{8 // self.codes.parts})"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Tile, tiles in a group and parts of the summed axis."""
        rows, columns, _ = self.shape
        sizes = rows, columns, self.codes.levels
        suited = [tile for tile in TILES if tile.within(sizes)] or [TILES[-1]]
        half = self.given[self.left[1]].element_size() == 2
        easy = [t for t in suited if half or t.rows * t.columns <= 1024] or suited[-1:]
        filling = [tile for tile in easy if tile.count((1, rows, columns)) >= PROGRAMS]
        first = filling[0] if filling else max(easy, key=lambda t: t.count((1, rows, columns)))
        runs = self.codes.groups * -(-self.codes.levels // first.depth)
        missing = 2 * PROGRAMS // first.count((1, rows, columns))
        parts = max(1, min(power_of_two(missing + 1) // 2, runs // 4, MOST_PARTS))
        return {
            "tile": [str(first), *(str(tile) for tile in easy if tile is not first)],
            "group": GROUPS if rows > 16 else (1,),
            "split": tuple(dict.fromkeys((parts, 1, 2, 4))) if parts > 1 else (1,),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        tile, own = Tile.parsed(str(chosen["tile"])), self.codes
        numbers = {
            "weights": "weights", "epilogue": "epilogue", "dtype": self.out.dtype,
            "columns": own.columns or self.shape[1], "groups": own.groups, "levels": own.levels,
            "parts": own.parts, **tile.blocks(), "group": chosen["group"], "split": chosen["split"],
        }  # fmt: skip
        views = [f"({''.join(f'{v}, ' for v in tensors)})"
                 for tensors in (own.views, self.epilogue.views)]  # fmt: skip
        lines = [self.left[0], *views, *(f"{name}={value}" for name, value in numbers.items())]
        given = "".join(f"        {line},\n" for line in lines)
        shape = "" if self.out.dim() == 2 else f".view(*{self.left[1]}.shape[:-1], -1)"
        after = self.epilogue.function("epilogue")
        run = f"def run({', '.join(self.given)}):\n    return multiply(\n{given}    ){shape}"
        text = "\n\n".join([*helpers(after), own.function(), after, run])
        sizes = "x".join(map(str, self.shape))
        return written(f"{self.label}: {sizes} (M, N, K)", self._work, BODY, text)

    @property
    def _work(self) -> Work:
        moved_bytes = sum(each.nbytes for each in (*self.given.values(), self.out))
        flops = 2 * prod(self.shape) + self.shape[0] * self.shape[1] * self.epilogue.operations
        return Work(moved_bytes, flops, MATRIX.get(self.given[self.left[1]].dtype, ""))


class DequantisedTemplate:
    """A product whose right operand is computed from bytes."""

    def match(self, graph: fx.GraphModule) -> DequantisedPlan | None:
        """See `kernels.templates.Template`."""
        wide = widened(graph)
        results, last = outputs(wide), [n for n in wide.graph.nodes if product(n) is not None]
        if not is_functional(wide) or len(results) != 1 or len(last) != 1:
            return None
        try:
            return _plan(graph, results[0], last[0])
        except (Unsupported, RecursionError):
            return None


def _plan(graph: fx.GraphModule, out: fx.Node, node: fx.Node) -> DequantisedPlan:
    own = product(node)
    assert own is not None
    names = {each: argument(each) for each in out.graph.find_nodes(op="placeholder", sort=True)}
    left, weights = source(own.left), expression(own.right)
    if left is None or not left.is_float or weights is None or not own.is_ordered:
        raise Unsupported("operands that are computed otherwise")
    if not any(leaf.root.meta["memory"].dtype in BYTES for leaf in leaves(weights)):
        raise Unsupported("weights that are no codes")
    rows = prod(own.lead) * own.rows
    shape = rows, own.columns, own.inner
    whole = own.left_layout(left.layout)
    flat = whole and whole.regrouped((rows, own.inner))
    placed = moved(weights, lambda layout: _matrix(own, layout))
    if flat is None or placed is None or None in map(flat.step, range(2)):
        raise Unsupported("operands that no strides describe")
    if out.meta["val"].numel() != rows * own.columns or declared_stride(out) != row_major(
        shape_of(out)
    ):
        raise Unsupported("a result of another shape")
    scaled = {node: replace(own, scale=own.scale * left.scale)}
    after = epilogue(behind(out, names, scaled), (1, rows, own.columns),
                     {name: each for each, name in names.items()})  # fmt: skip
    view = viewed(names[left.root], left.root, flat), names[left.root]
    found = DequantisedPlan(view, codes(placed, names), after, shape, arguments(graph),
                            out.meta["memory"])  # fmt: skip
    if shape_of(out)[:-1] not in ((rows,), shape_of(left.root)[:-1]):
        raise Unsupported("a result of another shape")
    return found


def _matrix(own: Product, layout: Layout) -> Layout | None:
    """A layout of the right operand as (K, N), if all batches have the same."""
    found = own.right_layout(layout)
    if found is None or any(step for _, step in found.dims[0]):
        return None
    return Layout(found.dims[1:], found.offset)


TEMPLATE = DequantisedTemplate()
