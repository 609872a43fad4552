"""One reduction over the columns of a tile, as Triton."""

from __future__ import annotations

from collections.abc import Mapping

from kernelite.kernels.loops.body import bare
from kernelite.kernels.loops.ir import Node
from kernelite.kernels.triton_templates._loops_text import NAN_TOO, TYPES, literal

UPDATE: Mapping[str, str] = {
    "sum": "{} + {}", "prod": "{} * {}", "max": "tl.maximum({}, {}{nan})",
    "min": "tl.minimum({}, {}{nan})",
}  # fmt: skip
BITS = {"int": 31, "int64_t": 63}


class Reduction:
    """The texts of one reduction.

    ``any`` and ``all`` are extremes of integers.  An extreme of floats is NaN
    if one of them is, which Triton's own reduction may overlook.

    Args:
        node: The reduction.
        name: Variable that holds the result.
        flat: Whether a tile has one axis; otherwise the result keeps both.
    """

    def __init__(self, node: Node, name: str, flat: bool) -> None:
        self.node, self.name = node, name
        logical = {"any": "max", "all": "min", "top": "max"}
        self.op, self.logical = logical.get(node.op, node.op), node.op in ("any", "all")
        self.dtype = "int" if self.logical else node.dtype
        self.finds_nan = node.op in ("max", "min") and node.dtype == "float"
        self.axis = "axis=0" if flat else "axis=1, keep_dims=True"

    def start(self) -> str:
        """What changes no result."""
        match self.op:
            case "sum":
                return literal(0, self.dtype)
            case "prod":
                return literal(1, self.dtype)
        sign = -1 if self.op == "max" else 1
        if self.dtype == "float":
            return literal(sign * float("inf"), self.dtype)
        return literal(sign * 2 ** BITS[self.dtype] - (sign > 0), self.dtype)

    def operand(self, text: str, inside: str) -> str:
        """A tile to be reduced; where not ``inside``, if that is anything, it counts nothing."""
        text = f"{text}.to(tl.int32)" if self.logical else text
        return f"tl.where({inside}, {bare(text)}, {self.start()})" if inside else text

    def declared(self, shape: str) -> str:
        """The statement that makes partial results, one for each place of a tile."""
        return f"{self.name}_parts = tl.full({shape}, {self.start()}, {TYPES[self.dtype]})"

    def updated(self, tile: str) -> str:
        """The statement that takes a tile into the partial results."""
        parts, nan = f"{self.name}_parts", NAN_TOO if self.finds_nan else ""
        return f"{parts} = {UPDATE[self.op].format(parts, tile, nan=nan)}"

    def result(self, tile: str) -> str:
        """The statement that reduces a tile, which is a name."""
        if self.op == "prod":
            text = f"tl.reduce({tile}, combine_fn=_product, {self.axis})"
        else:
            text = f"tl.{self.op}({tile}, {self.axis})"
        if self.logical:
            text = f"{text} > 0"
        if self.finds_nan:
            found = f"tl.max(({tile} != {tile}).to(tl.int32), {self.axis}) > 0"
            text = f'tl.where({found}, float("nan"), {text})'
        return f"{self.name} = {text}"
