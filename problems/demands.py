"""What a problem file may demand of kernels beyond right answers.

Each demand is an optional name in the file:

    POLICY = "fused"          # how much of the work a library may do
    SHAPES = "general"        # kernels must take other sizes of the axes, too
    DTYPES = ("bfloat16",)    # they must take these as well as the drawn dtype
    GRADIENTS = True          # they must be differentiable
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType

from kernelite.errors import UsageError

DTYPES = ("float64", "float32", "float16", "bfloat16")


class Policy(StrEnum):
    """How much of the work a library may do."""

    STRICT = "strict"
    FUSED = "fused"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Demands:
    """What one problem demands.

    Attributes:
        policy: None if the file leaves it to who asks.
        general: Whether kernels must take other sizes of the axes than the drawn ones.
        dtypes: Names of floating-point types besides the drawn one.
        gradients: Whether gradients of all float inputs and parameters are judged.
    """

    policy: Policy | None = None
    general: bool = False
    dtypes: tuple[str, ...] = ()
    gradients: bool = False


def demands(module: ModuleType) -> Demands:
    """The demands of an executed problem file.

    Raises:
        UsageError: a value that there is not; the message lists those there are.
    """
    policy = getattr(module, "POLICY", None)
    shapes = getattr(module, "SHAPES", "fixed")
    dtypes = tuple(getattr(module, "DTYPES", ()))
    if policy is not None:
        _known("POLICY", policy, list(Policy))
    _known("SHAPES", shapes, ["fixed", "general"])
    for name in dtypes:
        _known("DTYPES", name, DTYPES)
    return Demands(
        policy and Policy(policy), shapes == "general", dtypes,
        bool(getattr(module, "GRADIENTS", False)),
    )  # fmt: skip


def _known(name: str, value: object, known: list[str] | list[Policy] | tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} = {value!r} in a problem file; there are: {', '.join(known)}")
