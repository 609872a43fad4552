"""Who does the work of a call: PyTorch's operators, whoever calls them, or launched kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernelite.kernels.kernel import Entry

#: Operators that allocate, move or relabel elements and compute nothing.
LAYOUT = frozenset(
    """
    empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros zeros_like
    new_zeros ones ones_like new_ones full full_like new_full fill fill_ zero_ scalar_tensor arange
    clone copy copy_ _to_copy contiguous resize_ set_ cat stack constant_pad_nd lift_fresh
    _unsafe_view _reshape_alias alias detach view reshape expand permute transpose t slice select
    unsqueeze squeeze split split_with_sizes unbind as_strided unfold view_as_real view_as_complex
    """.split()
)
#: Those that are made of the above and show in a symbol table only.
COMPOSED = frozenset(
    """
    to flatten unflatten chunk narrow movedim swapaxes expand_as view_as reshape_as tensor_split
    numpy_T size stride numel item is_floating_point
    """.split()
)
#: Products and convolutions.
PRODUCTS = frozenset(
    """
    mm addmm bmm baddbmm addbmm mv addmv dot linear matmul _int_mm _scaled_mm convolution
    _convolution conv1d conv2d conv3d mkldnn_convolution thnn_conv2d _slow_conv2d_forward
    slow_conv3d_forward mkldnn_linear _linear_pointwise _convolution_pointwise
    """.split()
)


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators by name, without namespace and overload, while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch's hook: to be skipped costs the import of its compiler, more than a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.operators[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True)
class Trace:
    """What one call did.

    Attributes:
        operators: How often each of PyTorch's operators was dispatched.
        launches: The same of the kernels' launches; None for an entry that is itself the kernel.
    """

    operators: dict[str, int]
    launches: dict[str, int] | None


def traced(entry: Entry, arguments: Sequence[torch.Tensor]) -> Trace:
    """One call, watched."""
    launches = getattr(entry, "launches", None)
    with Dispatched() as dispatched, launches(False) if launches else nullcontext() as launched:
        entry(arguments)
    return Trace(dict(dispatched.operators), None if launched is None else dict(launched))


def ablated(entry: Entry, arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of one call whose kernels are not launched.

    Memory that nobody has written holds NaN, so that no old answer shows.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with entry.launches(True):  # type: ignore[attr-defined]  # who asks has seen some
            return entry(arguments)
    finally:
        torch.use_deterministic_algorithms(False)
