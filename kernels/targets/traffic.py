"""What one call of a candidate's host code launches and allocates, on tensors without contents."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

#: Operators that get memory and put nothing into it, by the beginning of their names.
BLANK = ("empty", "new_empty")


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered.

    Attributes:
        library: Operators of PyTorch that fill memory of their own: each launches a kernel.
        allocated: Storages that were made; they are kept, so that no address comes twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.library = 0
        self.allocated = dict[int, torch.UntypedStorage]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and see whether what it returns is new."""
        known = _storages((args, kwargs))
        result = func(*args, **(kwargs or {}))
        made = {key: s for key, s in _storages(result).items() if key not in known}
        fresh = made.keys() - self.allocated.keys()
        self.library += bool(fresh) and not func.overloadpacket.__name__.startswith(BLANK)
        self.allocated |= made
        return result

    def beside(self, outputs: Any) -> int:
        """Bytes of the storages that hold none of the outputs."""
        held = _storages(outputs)
        return sum(s.nbytes() for key, s in self.allocated.items() if key not in held)


def _storages(value: Any) -> dict[int, torch.UntypedStorage]:
    tensors = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))
    return {s._cdata: s for s in (tensor.untyped_storage() for tensor in tensors)}
