"""Host code that views an argument of a kernel as what the kernel walks over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import fx

from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument, shape_of
from kernelite.kernels.matching.source import declared_stride, row_major


def arguments(graph: fx.GraphModule) -> dict[str, torch.Tensor]:
    """What the flat arguments look like, by the names that they have in ``run``."""
    nodes = graph.graph.find_nodes(op="placeholder", sort=True)
    return {argument(node): node.meta["val"] for node in nodes}


def outputs(graph: fx.GraphModule) -> list[fx.Node]:
    """The graph's outputs."""
    return list(next(iter(graph.graph.find_nodes(op="output"))).args[0])


def viewed(name: str, root: fx.Node, layout: Layout) -> str:
    """The text of a view of ``root``, which ``run`` calls ``name``; an axis per factor.

    A view of the whole argument follows its sizes and strides, so that the kernel holds at
    other ones, too; one of a part of it holds at its own.
    """
    shape, stride = shape_of(root), declared_stride(root)
    for text, whole in _spellings(name, Layout.strided(shape, stride)):
        if whole == layout:
            return text
    factors = [factor for own in layout.dims for factor in own or ((1, 0),)]
    sizes, steps = tuple(size for size, _ in factors), tuple(step for _, step in factors)
    laid = f"{name}.contiguous().view(-1)"
    if stride != row_major(shape):
        where = f"dtype={name}.dtype, device={name}.device"
        copied = f"torch.empty_strided({shape}, {stride}, {where}).copy_({name})"
        laid = f"{copied}.as_strided(({_reach(shape, stride)},), (1,))"
    return f"{laid}[{layout.offset}:].as_strided({sizes}, {steps})"


def _reach(shape: Sequence[int], stride: Sequence[int]) -> int:
    """How many elements of memory a tensor spans."""
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _spellings(name: str, whole: Layout) -> Iterator[tuple[str, Layout]]:
    """Views that keep every element, and where they find it."""
    shape = whole.shape
    flat = _regrouped(whole, (prod(shape),))
    yield name, whole
    if flat is not None:
        yield f"{name}.reshape(-1)", flat
    if len(shape) < 2:
        return
    yield f"{name}.mT", whole.permuted((*range(len(shape) - 2), len(shape) - 1, len(shape) - 2))
    batches = _regrouped(whole, (prod(shape[:-2]), *shape[-2:]))
    if batches is not None:
        yield f"{name}.reshape(-1, *{name}.shape[-2:])", batches
        yield f"{name}.reshape(-1, *{name}.shape[-2:]).mT", batches.permuted((0, 2, 1))
    matrix = _regrouped(whole, (prod(shape[:-1]), shape[-1]))
    if matrix is not None:
        yield f"{name}.reshape(-1, {name}.shape[-1])", matrix
        yield f"{name}.reshape(-1, {name}.shape[-1]).mT", matrix.permuted((1, 0))


def _regrouped(whole: Layout, shape: tuple[int, ...]) -> Layout | None:
    """``whole`` under another shape, if a step leads from each index to the next."""
    found = whole.regrouped(shape)
    return None if found is None or any(len(own) > 1 for own in found.dims) else found
