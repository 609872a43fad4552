"""What happens to the elements of products before they are stored, as a function in Triton."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import torch
from torch import fx

from kernelite.kernels.loops.aten import Lowering
from kernelite.kernels.loops.axes import reachable
from kernelite.kernels.loops.body import Body
from kernelite.kernels.loops.ir import REDUCTIONS, Node, Unsupported
from kernelite.kernels.loops.views import Reshape
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.triton_templates._loops_text import (
    TRITON_LANGUAGE,
    TYPES,
    literal,
    supported,
)
from kernelite.kernels.triton_templates._views import viewed

AXES = ("batch", "rows[:, None]", "columns[None, :]")
INSIDE = ("", "(rows < M)[:, None]", "(columns < N)[None, :]")
Shape3 = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Epilogue:
    """A function from the sums of a tile to its results.

    Attributes:
        text: Its body, which ends with ``return``; `function` puts the head above.
        views: Host code of the tensors that it reads, in their order among its operands.
        operations: For each element of the result.
    """

    text: str
    views: tuple[str, ...]
    operations: int

    def function(self, name: str) -> str:
        """The whole text under a name."""
        head = f"@triton.jit\ndef {name}(products, batch, rows, columns, M, N, operands):\n"
        return head + self.text


class _Writer:
    """Writes the statements for a tile of (batch, M, N)."""

    def __init__(self, shape: Shape3, tensors: Mapping[str, fx.Node]) -> None:
        self.shape, self.tensors = shape, tensors
        self.places: dict[str, int] = {}
        self.views: list[str] = []
        self.operands = 0
        numbers = count()
        self.body = Body(TRITON_LANGUAGE, lambda _: True, self._none, self._leaf,
                         lambda stem: f"{stem}{next(numbers)}")  # fmt: skip

    def _none(self, node: Node) -> str:
        raise AssertionError(node.op)

    def _leaf(self, node: Node) -> str | None:
        """The text of what is not computed from other nodes."""
        match node.op:
            case "const":
                return literal(node.attr, node.dtype)
            case "iota":
                strides, offset = node.attr
                steps = zip(AXES, strides, strict=True)
                terms = [f"{axis}.to(tl.int32) * {step}" for axis, step in steps if step]
                return f"({' + '.join([*terms, str(offset)])})"
            case "load":
                return self._load(node)
        return None

    def _load(self, node: Node) -> str:
        name, _, strides, offset = node.attr
        if name.startswith("product"):
            own = tuple(s if n > 1 else 0 for s, n in zip(self._row_major, self.shape, strict=True))
            if (strides, offset) != (own, 0):
                raise Unsupported("a product that is seen otherwise than it is made")
            return f"products[{name.removeprefix('product')}]"
        kept = [axis for axis in range(3) if strides[axis]]
        sizes = [self.shape[axis] for axis in kept]
        layout = Layout.strided(sizes, [strides[axis] for axis in kept], offset)
        view = viewed(name, self.tensors[name], layout)
        key = f"{view} {kept}"
        if key not in self.places:
            self.places[key], self.operands = self.operands, self.operands + 1 + len(kept)
            self.views.append(view)
        return _read(self.places[key], kept, node.dtype)

    @property
    def _row_major(self) -> Shape3:
        return self.shape[1] * self.shape[2], self.shape[2], 1


def _read(place: int, axes: list[int], dtype: str) -> str:
    """The text of a load from the operand at ``place`` along these axes of the tile."""
    steps = [f"{AXES[axis]}.to(tl.int64) * operands[{place + i}]" for i, axis in enumerate(axes, 1)]
    pointer = " + ".join([f"operands[{place}]", *steps])
    masks = [INSIDE[axis] for axis in axes if INSIDE[axis]]
    mask = f", {' & '.join(masks)}, 0" if masks else ""
    return f"tl.load({pointer}{mask}).to({TYPES[dtype]})"


def epilogue(
    part: fx.GraphModule, shape: Shape3, tensors: Mapping[str, fx.Node]
) -> Epilogue:  # fmt: skip
    """The function that a part of a graph describes.

    Args:
        part: One output, from placeholders: ``product0`` and on, and named ``tensors``.
        shape: (batch, M, N) of the products and of the result.
        tensors: What the others look like.

    Raises:
        Unsupported: it is not elementwise, or reads something that no view is.
    """
    lowering = Lowering()
    (found,) = lowering.graph(part)
    found = lowering.dag.view(lowering.dag.expand(found, _out(part).shape), Reshape(shape))
    nodes = reachable([found])
    if any(node.op in (*REDUCTIONS, "cat", "merge") for node in nodes):
        raise Unsupported("an epilogue that is not elementwise")
    supported(nodes)
    writer = _Writer(shape, tensors)
    writer.body.expect([found])
    result = writer.body.text(found)
    lines = "".join(f"    {line}\n" for line in [*writer.body.lines, f"return {result}"])
    operations = sum(bool(node.args) for node in nodes)
    return Epilogue(lines, tuple(writer.views), operations)


def _out(part: fx.GraphModule) -> torch.Tensor:
    (output,) = part.graph.find_nodes(op="output")
    value: torch.Tensor = output.args[0][0].meta["val"]
    return value
