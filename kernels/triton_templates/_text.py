"""Python text of kernels: numbers, terms, places in memory, arguments as they were declared."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, prod

import torch
from torch import fx

from kernelite.kernels.matching.layout import Factors, Layout
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.source import declared_stride
from kernelite.kernels.matching.terms import Term
from kernelite.kernels.triton_templates._views import arguments, outputs

#: A function of host code: what a kernel that is specialised to strides makes of other ones.
ARRANGED = '''\
def arranged(x, stride):
    """``x`` if it lies in memory so, otherwise a copy that does."""
    if x.stride() == stride:
        return x
    return torch.empty_strided(x.shape, stride, dtype=x.dtype, device=x.device).copy_(x)
'''


def literal(value: float) -> str:
    """A number, special ones as kernels may write them."""
    return repr(value) if isfinite(value) else f'float("{value}")'


def term(value: Term) -> str:
    """A term as an expression of tensors, on which ``x`` is one."""
    match value:
        case str() | int():
            return str(value)
        case float():
            return literal(value)
        case ("not", inner):
            return f"({term(inner)} == 0)"
        case ("choose", condition, yes, no):
            return f"tl.where({term(condition)}, {term(yes)}, {term(no)})"
        case (torch.dtype() as kind, inner):
            name = str(kind).removeprefix("torch.").replace("bool", "int1")
            return f"({term(inner)}).to(tl.{name})"
        case (sign, left, right):
            return f"({term(left)} {sign} {term(right)})"
    raise ValueError(f"{value!r} is no term")


def matrix(kind: torch.dtype) -> str:
    """The kind of matrix unit that multiplies such numbers; empty for float32."""
    return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(kind, "")


def distinct(layout: Layout) -> int:
    """How many elements of memory a layout reaches."""
    return prod(size for factors in layout.dims for size, stride in factors if stride)


def index(factors: Factors, name: str) -> str:
    """The memory offset of the row-major index ``name`` into ``factors``."""
    terms, inner = list[str](), 1
    for position, (size, stride) in reversed(list(enumerate(factors))):
        digit = f"{name} // {inner}" if inner > 1 else name
        digit = f"{digit} % {size}" if position else digit
        terms += [f"({digit}) * {stride}"] if stride else []
        inner *= size
    return " + ".join(terms) or "0"


def place(layout: Layout, *names: str) -> str:
    """The memory offset of an element, its index in each dimension by name."""
    parts = [index(factors, name) for factors, name in zip(layout.dims, names, strict=True)]
    parts = [part for part in parts if part != "0"] + ([str(layout.offset)] * bool(layout.offset))
    return " + ".join(parts) or "0"


def opening(graph: fx.GraphModule, roots: Iterable[fx.Node]) -> str:
    """The head of ``run``, which brings the arguments that are read into their declared order."""
    names = ", ".join(arguments(graph))
    strides = {argument(root): declared_stride(root) for root in roots}
    lines = [f"    {name} = arranged({name}, {strides[name]})" for name in sorted(strides)]
    return "\n".join([f"def run({names}):", *lines, ""])


def results(graph: fx.GraphModule) -> list[torch.Tensor]:
    """What the graph's outputs look like."""
    return [node.meta["val"] for node in outputs(graph)]


def allocation(value: torch.Tensor, like: str) -> str:
    """A call that makes an output which looks so, where ``like`` lies."""
    look = f"{tuple(value.shape)}, {tuple(value.stride())}, dtype={value.dtype}"
    return f"torch.empty_strided({look}, device={like}.device)"
