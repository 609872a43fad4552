"""The same problem at other sizes of its axes and in other dtypes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch.utils import _pytree as pytree

from kernelite.harness.cases import Case, Cases
from kernelite.problems.problem import Signature, flat_tensors

#: One, primes, around a power of two, and no multiple of a vector's or a tile's width.
SIZES = (1, 17, 31, 32, 33, 127)
LONG = 4099
SECRET = 2
LARGEST = 1 << 22  # elements of one tensor
Axis = tuple[int, int]  # (input tensor, axis)


@dataclass(frozen=True, slots=True)
class Variant:
    """A case that needs the kernel loaded for other outputs than the problem's own."""

    signature: Signature
    case: Case


def retyped(cases: Cases, name: str) -> Variant | None:
    """The first inputs and the state in another dtype; None if the reference cannot take it."""
    dtype: torch.dtype = getattr(torch, name)
    model = copy.deepcopy(cases.instance.model).to(dtype)
    inputs = pytree.tree_map_only(
        torch.Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, cases.instance.inputs
    )
    return _variant(cases, name, inputs, model)


def resized(cases: Cases) -> Iterator[Variant]:
    """The problem at sizes that everybody knows and at some that only the judge does."""
    generator = torch.Generator().manual_seed(cases.seed + 31)
    free = _free_axes(cases, generator)
    secret = torch.randint(2, 200, (SECRET, len(free)), generator=generator).tolist()
    wanted = [{place % len(free): size} for place, size in enumerate(SIZES)] if free else []
    wanted += [{0: LONG} | {other: 3 for other in range(1, len(free))}] if free else []
    wanted += [dict(enumerate(sizes)) for sizes in secret if sizes]
    for sizes in wanted:
        axes = {axis: size for group, size in sizes.items() for axis in free[group]}
        if variant := _resize(cases, axes, generator):
            yield variant


def emptied(cases: Cases) -> Iterator[Variant]:
    """The problem with no elements along each of its free axes."""
    generator = torch.Generator().manual_seed(cases.seed + 37)
    for group in _free_axes(cases, generator):
        if variant := _resize(cases, dict.fromkeys(group, 0), generator):
            yield variant


def _free_axes(cases: Cases, generator: torch.Generator) -> list[list[Axis]]:
    """Groups of axes that have one size and can take another, as the reference says."""
    by_size: dict[int, list[Axis]] = {}
    for index, tensor in enumerate(flat_tensors(cases.instance.inputs)):
        for axis, size in enumerate(tensor.shape):
            by_size.setdefault(size, []).append((index, axis))
    free = []
    for size, group in by_size.items():
        leading = [axis for axis in group if axis[1] == 0]
        for attempt in (group, leading):
            if attempt and _resize(cases, dict.fromkeys(attempt, size + 1), generator):
                free.append(attempt)
                break
    return free


def _resize(
    cases: Cases, sizes: dict[Axis, int], generator: torch.Generator
) -> Variant | None:  # fmt: skip
    """The problem with these sizes; elements are drawn from those of the first inputs."""
    tensors = flat_tensors(cases.instance.inputs)
    drawn = []
    for index, tensor in enumerate(tensors):
        shape = [sizes.get((index, axis), size) for axis, size in enumerate(tensor.shape)]
        if prod(shape) > LARGEST or not tensor.numel():
            return None
        places = torch.randint(tensor.numel(), shape, generator=generator)
        same = tuple(shape) == tuple(tensor.shape)
        drawn.append(tensor if same else tensor.flatten()[places])
    name = ", ".join("x".join(map(str, tensor.shape)) for tensor in drawn)
    return _variant(cases, name, cases.inputs_of(drawn), cases.instance.model)


def _variant(
    cases: Cases, name: str, inputs: Sequence[Any], model: torch.nn.Module
) -> Variant | None:
    try:
        case = cases.case(name, inputs, model)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None  # the reference cannot do it, so no kernel has to
    return Variant(replace(cases.instance.signature, outputs=case.looks), case)
