"""Inputs to judge with, and what the reference makes of them.

All of them come from one seed that is drawn fresh for each judge and never
leaves its process.  Cases are made once and shared by all candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from kernelite.harness import oracle
from kernelite.harness.distributions import EXTREME, ORDINARY, Change
from kernelite.harness.verdict import Failed
from kernelite.problems.demands import Demands, demands
from kernelite.problems.problem import Instance, Problem, execute, flat_tensors, instantiate
from kernelite.problems.tensors import TensorSpec, specs

KEPT_BYTES = 32 << 20


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

    @property
    def nbytes(self) -> int:
        """Memory of inputs, answers and oracle."""
        held = (*self.tensors, *self.reference, *self.truth)
        return sum(t.numel() * t.element_size() for t in held)

    @property
    def looks(self) -> tuple[TensorSpec, ...]:
        """How the outputs must look."""
        return specs(self.reference)


class Cases:
    """Makes cases of one problem from one secret seed."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.module = execute(problem)
        self.demands: Demands = demands(self.module)
        self._cases: dict[str, Case | None] = {}
        self._held_bytes = 0
        self.admitted: str | Failed | None = None  # what the first candidate was told

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
    def views(self) -> bool:
        """Whether the reference's own outputs share memory with its arguments."""
        held = {t.untyped_storage().data_ptr() for t in self.instance.arguments}
        return any(t.untyped_storage().data_ptr() in held for t in self.instance.run())

    def ordinary(self) -> Iterator[Case]:
        """The first inputs with values from other distributions."""
        return self._changed(ORDINARY)

    def extreme(self) -> Iterator[Case]:
        """The first inputs with values that strain the arithmetic."""
        return self._changed(EXTREME)

    def _changed(self, changes: Mapping[str, Change]) -> Iterator[Case]:
        """Those of the changes on which the reference stays finite, as float64 does."""
        for name, change in changes.items():
            if case := self._kept(name, partial(self._with, name, change)):
                yield case

    def _with(self, name: str, change: Change) -> Case | None:
        generator = torch.Generator().manual_seed(self.seed + 17)
        changed = [
            change(i, generator) if isinstance(i, torch.Tensor) and i.is_floating_point() else i
            for i in self.instance.inputs
        ]
        case = self.case(name, changed)
        answers = (*case.truth, *case.reference)  # which may overflow where float64 does not
        finite = all(bool(t.isfinite().all()) for t in answers if t.is_floating_point())
        return case if finite else None

    def _kept(self, name: str, make: Callable[[], Case | None]) -> Case | None:
        """The case made before, or made now and remembered while there is room."""
        if name in self._cases:
            return self._cases[name]
        case = make()
        size = case.nbytes if case else 0
        if self._held_bytes + size <= KEPT_BYTES:
            self._cases[name], self._held_bytes = case, self._held_bytes + size
        return case

    def one_changed(self, weights: bool) -> Case:
        """The first inputs with one element of each changed, or of each parameter."""
        make = self._one_weight_changed if weights else self._one_input_changed
        found = self._kept(f"one changed {weights}", make)
        assert found is not None
        return found

    def _one_input_changed(self) -> Case:
        generator = torch.Generator().manual_seed(self.seed + 23)
        changed = [
            _one_changed(i, generator) if isinstance(i, torch.Tensor) else i
            for i in self.instance.inputs
        ]
        try:
            return self.case("one element changed", changed)
        except (RuntimeError, IndexError):  # as of offsets that no longer ascend
            whole = [
                new if isinstance(old, torch.Tensor) and old.is_floating_point() else old
                for old, new in zip(self.instance.inputs, changed, strict=True)
            ]
            return self.case("one element changed", whole)

    def _one_weight_changed(self) -> Case:
        generator = torch.Generator().manual_seed(self.seed + 29)
        model = copy.deepcopy(self.instance.model)
        state = {name: _one_changed(t, generator) for name, t in model.state_dict().items()}
        model.load_state_dict(state)
        return self.case("one weight changed", self.instance.inputs, model)

    @cached_property
    def other_state(self) -> Case:
        """The first inputs with a state from another seed."""
        other = instantiate(self.problem, self.seed + 3, self.module)
        return self.case("other weights", self.instance.inputs, other.model)

    def laid_out(self, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Case:
        """The first inputs as one of `LAYOUTS` puts them; scalars and expanded axes as drawn."""
        inputs = [
            change(i) if isinstance(i, torch.Tensor) and i.dim() and 0 not in i.stride() else i
            for i in self.instance.inputs
        ]
        found = self._kept(name, partial(self.case, name, inputs))
        assert found is not None
        return found

    def special(self, name: str, value: float) -> Case | None:
        """The first inputs with one element of the first float tensor replaced, if there is one."""
        return self._kept(name, partial(self._with_special, name, value))

    def _with_special(self, name: str, value: float) -> Case | None:
        changed = [_like(i) if isinstance(i, torch.Tensor) else i for i in self.instance.inputs]
        for tensor in flat_tensors(changed):
            if tensor.is_floating_point() and tensor.numel() and 0 not in tensor.stride():
                place = self.seed % tensor.numel()
                index = np.unravel_index(place, tuple(tensor.shape))
                tensor[tuple(int(i) for i in index)] = value
                return self.case(name, changed)
        return None

    def inherent(self, case: Case) -> list[oracle.Errors]:
        """What inputs that are wrong in their last binary digit change in each float output."""
        generator = torch.Generator().manual_seed(self.seed + 31)

        def nudged(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_floating_point():
                return tensor
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1
            return tensor.double() * (1 + oracle.ROUNDING[tensor.dtype] * noise)

        inputs = self.inputs_of([nudged(tensor) for tensor in case.tensors])
        found = oracle.in_float64(self.instance.model, inputs, {})
        return [
            oracle.errors(got, truth) if truth.is_floating_point() else oracle.Errors(0.0, 0.0)
            for got, truth in zip(found, case.truth, strict=True)
        ]

    def inputs_of(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        """The problem's inputs with these tensors for its own."""
        feed = iter(tensors)
        return list(pytree.tree_map_only(torch.Tensor, lambda _: next(feed), self.instance.inputs))

    def draws(self, count: int) -> list[list[torch.Tensor]]:
        """``count`` sets of input tensors, each from another seed."""
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

    def as_function(
        self, model: torch.nn.Module
    ) -> Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]:
        """The reference as a function of the flat arguments, differentiable in all of them."""
        names = list(model.state_dict())

        def function(arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            count = len(arguments) - len(names)
            inputs = self.inputs_of(arguments[:count])
            state = dict(zip(names, arguments[count:], strict=True))
            return flat_tensors(torch.func.functional_call(model, state, tuple(inputs)))

        return function

    def _inputs(self, seed: int) -> list[Any]:
        """Inputs from another seed, without building the model again."""
        keywords = getattr(self.module, "WORKLOADS", {}).get(self.problem.workload, {})
        torch.manual_seed(seed)
        return list(self.module.get_inputs(**keywords))


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides, expanded axes included."""
    return copy.deepcopy(tensor.detach())


def _with_gaps(tensor: torch.Tensor) -> torch.Tensor:
    """The same values at another alignment, in a storage with gaps."""
    wide = torch.empty(*tensor.shape[:-1], 2 * tensor.shape[-1] + 1, dtype=tensor.dtype)
    return wide[..., 1::2].copy_(tensor)


def _transposed(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, the last axis outermost in memory."""
    return tensor.movedim(-1, 0).contiguous().movedim(0, -1)


def _broadcast(tensor: torch.Tensor) -> torch.Tensor:
    """The first entry along the first axis, everywhere, with stride 0."""
    return tensor[:1].clone().expand_as(tensor) if tensor.shape[0] else tensor.clone()


#: Ways for the same shape to lie in memory.
LAYOUTS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gaps and offset": _with_gaps, "transposed": _transposed, "broadcast": _broadcast,
}  # fmt: skip


def _one_changed(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A copy in which one element, at a secret place, has the value of another one."""
    changed = _like(tensor)
    if 0 in tensor.stride() or tensor.numel() < 2:
        return changed
    flat = tensor.flatten()
    place, *others = torch.randint(flat.numel(), (8,), generator=generator).tolist()
    far = max(others, key=lambda other: abs(float(flat[other]) - float(flat[place])))
    index = np.unravel_index(place, tuple(tensor.shape))
    changed[tuple(int(i) for i in index)] = flat[far]
    return changed
