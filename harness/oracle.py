"""How right is right: the reference in float64, and an error budget.

A candidate may be at most a small multiple less accurate than the reference
itself is at its working precision.  There is no absolute tolerance that a
problem of small numbers would slip under, and no share of elements that may
be wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from kernelite.problems.problem import flat_tensors

ROUNDING: Mapping[torch.dtype, float] = {
    torch.float64: 2.0**-53, torch.float32: 2.0**-24,
    torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8,
}  # fmt: skip
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Errors:
    """Distance from float64.

    Attributes:
        rms: Norm of the difference over norm of the oracle; zeros score 1.
        largest: Largest difference, each over the element's size plus the mean size.
    """

    rms: float
    largest: float


class Promote(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation that asks for a lower float type in float64 instead."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch's hook: to be skipped costs the import of its compiler, more than a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        promote = lambda value: torch.float64 if value in FLOATS else value  # noqa: E731
        plain = pytree.tree_map_only(torch.dtype, promote, (args, kwargs or {}))
        return func(*plain[0], **plain[1])


def in_float64(model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[
    torch.Tensor
]:  # fmt: skip
    """The outputs of a copy of ``model`` with every float raised to float64."""
    raised = copy.deepcopy(model).double()
    lift: Callable[[torch.Tensor], torch.Tensor] = lambda t: (  # noqa: E731
        t.double() if t.is_floating_point() else t
    )
    big, named = pytree.tree_map_only(torch.Tensor, lift, (tuple(args), dict(kwargs)))
    with torch.no_grad(), Promote():  # type: ignore[no-untyped-call]
        return flat_tensors(raised(*big, **named))


def errors(output: torch.Tensor, oracle: torch.Tensor) -> Errors:
    """How far ``output`` is from the float64 ``oracle`` where that is finite."""
    finite = oracle.isfinite()
    truth = oracle if bool(finite.all()) else oracle[finite]
    off = (output.double() if truth is oracle else output.double()[finite]) - truth
    if not off.numel():
        return Errors(0.0, 0.0)
    size = truth.abs()
    norm = float(torch.linalg.vector_norm(truth))
    mean = float(size.mean())
    if norm == 0.0:
        worst = float(off.abs().max())
        return Errors(worst, worst)
    rms = float(torch.linalg.vector_norm(off)) / norm
    return Errors(rms, float((off.abs() / (size + mean)).max()))


def budget(reference: Errors, dtype: torch.dtype, reduction: int) -> Errors:
    """The errors that a candidate may have.

    Args:
        reference: Errors of the reference at its working precision.
        dtype: Working precision.
        reduction: Number of terms of the longest sum that the problem can hold.

    The floors cover legitimate differences in summation order: a random walk of
    ``reduction`` roundings has the standard deviation u * sqrt(reduction).
    """
    unit = ROUNDING[dtype]
    if dtype in (torch.float16, torch.bfloat16):
        slack, floor = 2.0, 1.5 * unit
    else:
        slack, floor = 8.0, min(4 * unit * max(reduction, 1) ** 0.5, 170 * unit)
    return Errors(max(slack * reference.rms, floor), max(2 * slack * reference.largest, 6 * floor))


def compare(
    outputs: Sequence[torch.Tensor], reference: Sequence[torch.Tensor],
    oracle: Sequence[torch.Tensor], reduction: int, slack: float = 1.0,
    inherent: Sequence[Errors] = (),
) -> tuple[float, str | None]:  # fmt: skip
    """Accuracy of a candidate's outputs, and what is wrong with them if anything.

    ``reduction`` is that of `budget`, and ``slack`` the multiple of it that is allowed, or of
    the ``inherent`` errors of each output where those are larger.

    Returns:
        The largest error as a multiple of the reference's own, and a sentence or None.
    """
    worst = 0.0
    for index, (got, own, truth) in enumerate(zip(outputs, reference, oracle, strict=True)):
        if not own.is_floating_point():
            if not torch.equal(got, own):
                return worst, f"output {index}: {_unequal(got, own)} elements differ; must be equal"
            continue
        if wrong := _misplaced(got, own, truth):
            return worst, f"output {index}: {wrong}"
        # Where the reference itself overflows, its error would allow anything elsewhere.
        truth = torch.where(own.isfinite(), truth, own.double())
        theirs, ours = errors(own, truth), errors(got, truth)
        allowed = budget(theirs, own.dtype, reduction)
        unit = ROUNDING[own.dtype]
        worst = max(worst, ours.rms / max(theirs.rms, unit / 4))
        unavoidable = inherent[index] if inherent else Errors(0.0, 0.0)
        rms = slack * max(allowed.rms, unavoidable.rms)
        largest = slack * max(allowed.largest, unavoidable.largest)
        if not ours.rms <= rms:
            return worst, f"output {index}: error {ours.rms:.3g} of its norm; {rms:.3g} allowed"
        if not ours.largest <= largest:
            return worst, (
                f"output {index}: one element is off by {ours.largest:.3g} of its size;"
                f" {largest:.3g} allowed"
            )
    return worst, None


def _unequal(got: torch.Tensor, own: torch.Tensor) -> int:
    return int((got != own).sum())


def _misplaced(got: torch.Tensor, own: torch.Tensor, truth: torch.Tensor) -> str | None:
    """What differs in the places of NaN and infinities.

    Where the reference and float64 disagree about these, either is right: PyTorch's
    vectorised float32 GELU makes NaN of an infinity, the definition does not.
    """
    if bool(own.isfinite().all()):
        bad = int((~got.isfinite()).sum())
        return f"{bad} elements are not finite or were never written" if bad else None
    as_truth = _same_kind(got.double(), truth) & ~truth.isfinite() & ~own.isfinite()
    wrong = ~(_same_kind(got, own) | as_truth)
    if bool((wrong & (got.isnan() | own.isnan())).any()):
        return "NaN is not where the reference has it"
    return "infinities are not where the reference has them" if bool(wrong.any()) else None


def _same_kind(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where both are NaN, or the same infinity, or finite."""
    return (a.isnan() & b.isnan()) | (a.isinf() & (a == b)) | (a.isfinite() & b.isfinite())
