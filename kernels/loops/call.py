"""One call of an ATen operator, its arguments by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelite.kernels.loops.ir import Dag, Node, Unsupported
from kernelite.kernels.loops.ops import Ops


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets.

    Attributes:
        ops: Makes the nodes.
        named: Arguments by the names of the operator's schema, defaults filled in;
            tensors are nodes.
        val: What the operator returns, as fake tensors: shapes and dtypes.
    """

    ops: Ops
    named: Mapping[str, Any]
    val: Any

    @property
    def dag(self) -> Dag:
        """Where nodes are made."""
        return self.ops.dag

    @property
    def self(self) -> Node:
        """The first tensor."""
        first: Node = self["self"] if "self" in self.named else self["input"]
        return first

    def __getitem__(self, name: str) -> Any:
        if name not in self.named:
            raise Unsupported(f"an overload without {name}")
        return self.named[name]

    def get(self, name: str) -> Any:
        """The argument, or None if the overload has none of that name."""
        return self.named.get(name)

    def axis(self, name: str = "dim") -> int:
        """The argument as a non-negative axis of `self`."""
        return int(self[name]) % max(len(self.self.shape), 1)

    def axes(self, name: str = "dim") -> list[int]:
        """The argument as axes of `self`; all of them for None or none."""
        rank = len(self.self.shape)
        given = self.get(name)
        given = [given] if isinstance(given, int) else given
        return [axis % max(rank, 1) for axis in given] if given else list(range(rank))


Handler = Callable[[Call], Any]
Handlers = Mapping[str, Handler]


def last_axes(node: Node, shape: Sequence[int]) -> list[int]:
    """The trailing axes of ``node`` that a normalised shape names."""
    rank = len(node.shape)
    return list(range(rank - len(shape), rank))
