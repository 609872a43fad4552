"""Inputs to judge with, and what the reference makes of them.

All of them come from one seed that is drawn fresh for each judge and never
leaves its process.  Cases are made once and shared by all candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from kernelite.harness import oracle
from kernelite.problems.problem import Instance, Problem, execute, flat_tensors, instantiate
from kernelite.problems.tensors import specs


@dataclass(frozen=True, slots=True)
class Case:
    """One set of inputs, with the reference's outputs at working precision and in float64.

    Attributes:
        name: How the inputs were made, ``drawn 2`` or ``outliers``.
        tensors: Input tensors, without the state.
    """

    name: str
    tensors: tuple[torch.Tensor, ...]
    state: tuple[torch.Tensor, ...]
    reference: tuple[torch.Tensor, ...]
    truth: tuple[torch.Tensor, ...]


class Cases:
    """Makes cases of one problem from one secret seed."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.module = execute(problem)
        self._specials: dict[str, Case | None] = {}

    @cached_property
    def instance(self) -> Instance:
        """The problem as the kernel under test meets it first."""
        return instantiate(self.problem, self.seed, self.module)

    @cached_property
    def reduction(self) -> int:
        """An upper bound for the number of terms in one sum: elements in per element out."""
        arguments = specs(self.instance.arguments)
        axes = [max(s.shape, default=1) for s in arguments]
        smallest = min((o.numel for o in self.instance.signature.outputs if o.numel), default=1)
        largest = max((s.numel for s in arguments), default=1)
        return max(*axes, largest // smallest, 1)

    @cached_property
    def drawn(self) -> tuple[Case, ...]:
        """Three sets of inputs as the problem draws them; the same state in each."""
        others = [self._inputs(self.seed + step) for step in (1, 2)]
        sets = [self.instance.inputs, *others]
        return tuple(self.case(f"drawn {i}", inputs) for i, inputs in enumerate(sets))

    @cached_property
    def distributions(self) -> tuple[Case, ...]:
        """The first inputs with other values, as far as the reference stays finite on them."""
        made = []
        for name, change in DISTRIBUTIONS.items():
            generator = torch.Generator().manual_seed(self.seed + 17)
            changed = [
                change(i, generator) if isinstance(i, torch.Tensor) and i.is_floating_point() else i
                for i in self.instance.inputs
            ]
            case = self.case(name, changed)
            answers = (*case.truth, *case.reference)  # which may overflow where float64 does not
            if all(bool(t.isfinite().all()) for t in answers if t.is_floating_point()):
                made.append(case)
        return tuple(made)

    @cached_property
    def other_state(self) -> Case:
        """The first inputs with a state from another seed."""
        other = instantiate(self.problem, self.seed + 3, self.module)
        return self.case("other weights", self.instance.inputs, other.model)

    def special(self, name: str, value: float) -> Case | None:
        """The first inputs with one element of the first float tensor replaced, if there is one."""
        if name not in self._specials:
            self._specials[name] = self._with_special(name, value)
        return self._specials[name]

    def _with_special(self, name: str, value: float) -> Case | None:
        changed = [_like(i) if isinstance(i, torch.Tensor) else i for i in self.instance.inputs]
        for tensor in flat_tensors(changed):
            if tensor.is_floating_point() and tensor.numel() and 0 not in tensor.stride():
                place = self.seed % tensor.numel()
                index = np.unravel_index(place, tuple(tensor.shape))
                tensor[tuple(int(i) for i in index)] = value
                return self.case(name, changed)
        return None

    def ring_case(self, index: int) -> Case:
        """The set of inputs at ``index`` of the ring, with its answers."""
        return self.case("timed call", self._inputs(self.seed + 100 + index))

    def ring(self, count: int) -> list[list[torch.Tensor]]:
        """``count`` sets of input tensors with different contents."""
        return [flat_tensors(self._inputs(self.seed + 100 + i)) for i in range(count)]

    def case(
        self, name: str, inputs: Sequence[Any], model: torch.nn.Module | None = None
    ) -> Case:  # fmt: skip
        """The reference's answers to these inputs; the reference works on copies."""
        model = model or self.instance.model
        kept = tuple(_like(t) for t in flat_tensors(list(inputs)))
        with torch.no_grad():
            own = flat_tensors(model(*pytree.tree_map_only(torch.Tensor, _like, list(inputs))))
        truth = oracle.in_float64(model, inputs, {})
        state = tuple(model.state_dict().values())
        return Case(name, kept, state, tuple(own), tuple(truth))

    def _inputs(self, seed: int) -> list[Any]:
        """Inputs from another seed, without building the model again."""
        keywords = getattr(self.module, "WORKLOADS", {}).get(self.problem.workload, {})
        torch.manual_seed(seed)
        return list(self.module.get_inputs(**keywords))


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides, expanded axes included."""
    return copy.deepcopy(tensor.detach())


def laid_out_otherwise(tensor: torch.Tensor) -> torch.Tensor:
    """The same values at another alignment, in a storage with gaps."""
    if tensor.dim() == 0 or 0 in tensor.stride():
        return tensor.clone()
    wide = torch.empty(*tensor.shape[:-1], 2 * tensor.shape[-1] + 1, dtype=tensor.dtype)
    return wide[..., 1::2].copy_(tensor)


def _wide(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Magnitudes spread over six decades, signs kept."""
    own = torch.empty(tensor.shape, dtype=tensor.dtype)
    factor = 10 ** (own.uniform_(generator=generator) * 6 - 4)
    return _as(tensor, tensor * factor)


def _outliers(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One element in a thousand, at least one, fifty times as large."""
    own = torch.rand(tensor.shape, generator=generator) < 1e-3
    own.view(-1)[:1] = True
    return _as(tensor, torch.where(own, tensor * 50, tensor))


def _shifted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mean far from zero, where a one-pass variance loses its digits."""
    return _as(tensor, tensor * 3 + 100)


def _as(like: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``values`` with the strides of ``like``."""
    if 0 in like.stride():
        return values
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).copy_(values)


DISTRIBUTIONS: Mapping[str, Callable[[torch.Tensor, torch.Generator], torch.Tensor]] = {
    "wide": _wide,
    "outliers": _outliers,
    "shifted": _shifted,
}
