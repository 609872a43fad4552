"""How a tile of weights is computed from codes, as a function in Triton.

The axis that is summed is cut into ``groups`` of ``levels`` of ``parts``: a
group shares scales and zero points, the parts of a level share a byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from torch import fx

from kernelite.kernels.loops.ir import Unsupported
from kernelite.kernels.matching.codes import NIBBLE, Expression, Leaf, leaves
from kernelite.kernels.matching.layout import Factors, Layout, regroup
from kernelite.kernels.triton_templates._views import viewed

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
BITS = 4


@dataclass(frozen=True, slots=True)
class Codes:
    """A function from a place in the summed axis to weights, (levels, columns) for each part.

    Attributes:
        text: Its body; `function` puts the head above.
        views: Host code of the tensors that it reads.
        columns: Host code of how many columns there are.
    """

    text: str
    views: tuple[str, ...]
    columns: str
    groups: int
    levels: int
    parts: int

    def function(self) -> str:
        """The whole text."""
        head = "@triton.jit\ndef weights(levels, group, columns, LEVELS, N, codes):\n"
        return head + self.text


def codes(value: Expression, names: Mapping[fx.Node, str]) -> Codes:
    """The function for an expression whose layouts have the axes (summed, columns).

    Raises:
        Unsupported: its layouts have no such groups.
    """
    every = list(leaves(value))
    inner, columns = every[0].place.shape
    digits = _digits(every, inner)
    writer = _Writer(digits, columns, names)
    texts = [writer.text(value, part) for part in range(digits[2])]
    lines = [*writer.lines, f"return {texts[0]}, {texts[-1]}"]
    text = "".join(f"    {line}\n" for line in lines)
    return Codes(text, tuple(writer.views), writer.columns_text, *digits)


def _digits(every: list[Leaf], inner: int) -> tuple[int, int, int]:
    """Groups, levels and parts: where the strides of some leaf change."""
    changes: set[int] = set()
    for leaf in every:
        for layout in (leaf.place, leaf.shift):
            sizes = [size for size, _ in layout.dims[0]] if layout else []
            changes |= {prod(sizes[i:]) for i in range(1, len(sizes))}
    parts = 2 if any(leaf.shift and any(s for _, s in leaf.shift.dims[0]) for leaf in every) else 1
    group = changes - {parts}
    if len(group) > 1 or (parts == 2 and 2 not in changes):
        raise Unsupported("codes in groups of several sizes")
    size = group.pop() if group else inner
    if inner % size or size % parts:
        raise Unsupported("groups that do not divide the axis")
    return inner // size, size // parts, parts


@dataclass(slots=True)
class _Writer:
    digits: tuple[int, int, int]
    columns: int
    names: Mapping[fx.Node, str]
    lines: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)
    columns_text: str = ""
    operands: int = 0

    def text(self, value: Expression, part: int) -> str:
        """One part's weights."""
        if isinstance(value, Leaf):
            return self._leaf(value, part)
        if isinstance(value, tuple):
            left, right = (self.text(operand, part) for operand in value[1:])
            return f"({left} {SIGNS[value[0]]} {right})"
        return repr(float(value))

    def _leaf(self, leaf: Leaf, part: int) -> str:
        group, level, inside = self._steps(leaf.place)
        if inside or (level and group and group != level * self.digits[1]):
            raise Unsupported("codes that do not lie in a row")
        text = self._loaded(leaf, group, level)
        if leaf.shift is None:
            return f"{text}.to(tl.float32)"
        bits = " + ".join([*_index(leaf.shift.dims[1], "columns[None, :]"),
                           str(part * self._steps(leaf.shift)[2])])  # fmt: skip
        return f"(({text}.to(tl.int32) >> ({bits})) & {NIBBLE}).to(tl.float32)"

    def _steps(self, layout: Layout) -> tuple[int, int, int]:
        """Strides along groups, levels and parts."""
        found = regroup(layout.dims[0], self.digits)
        if found is None or any(len(own) > 1 for own in found):
            raise Unsupported("codes that no strides describe")
        steps = [own[0][1] if own else 0 for own in found]
        return steps[0], steps[1], steps[2]

    def _loaded(self, leaf: Leaf, group: int, level: int) -> str:
        """The name of what a load of the leaf's elements gives, the same for all parts."""
        groups, levels, _ = self.digits
        across = [(index, factor) for index, factor in zip(
            _digits_of(leaf.place.dims[1], "columns[None, :]"), leaf.place.dims[1], strict=True
        ) if factor[1]]  # fmt: skip
        axes, sizes = [index for index, _ in across], [factor for _, factor in across]
        if level:
            axes.append("(group * LEVELS + levels)[:, None]")
            sizes.append((groups * levels, level))
        elif group:
            axes.append("group")
            sizes.append((groups, group))
        dims = tuple((factor,) if factor[0] > 1 else () for factor in sizes)
        view = viewed(self.names[leaf.root], leaf.root, Layout(dims, leaf.place.offset))
        key = f"{view} {axes}"
        if key not in self.known:
            self.known[key] = self._load(view, axes, bool(level))
            if not self.columns_text and len(across) == 1 and across[0][1][0] == self.columns:
                self.columns_text = f"{view}.shape[0]"
        return self.known[key]

    def _load(self, view: str, axes: list[str], deep: bool) -> str:
        steps = [f"{axis} * codes[{self.operands + i}]" for i, axis in enumerate(axes, 1)]
        pointer = " + ".join([f"codes[{self.operands}]", *steps])
        masks = ["(columns < N)[None, :]"] * any("columns" in axis for axis in axes)
        masks += ["(levels < LEVELS)[:, None]"] * deep
        name = f"codes{len(self.views)}"
        mask = f", {' & '.join(masks)}, 0" if masks else ""
        self.lines.append(f"{name} = tl.load({pointer}{mask})")
        self.operands += 1 + len(axes)
        self.views.append(view)
        return name


def _digits_of(factors: Factors, name: str) -> Iterator[str]:
    """The index along each factor of an axis whose index is ``name``."""
    inner = prod(size for size, _ in factors)
    for position, (size, _) in enumerate(factors):
        inner //= size
        digit = f"{name} // {inner}" if inner > 1 else name
        yield f"({digit} % {size}).to(tl.int64)" if position else f"({digit}).to(tl.int64)"


def _index(factors: Factors, name: str) -> Iterator[str]:
    """The terms of a sum over the factors, strides that are 0 left out."""
    for digit, (_, stride) in zip(_digits_of(factors, name), factors, strict=True):
        if stride:
            yield f"{digit} * {stride}"
