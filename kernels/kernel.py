"""A kernel's source, and what a backend must do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kernelite.problems.tensors import TensorSpec

if TYPE_CHECKING:
    import torch

    from kernelite.problems.problem import Signature

#: A comment of its own in a source that is for the problem's own sizes and no others.
FIXED_SIZES = "sizes: the problem's own"
Allocate = Callable[[TensorSpec], "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One program, as text.

    Attributes:
        backend: Name of the module in `kernels.backends` that can build it.
        source: The whole program, launch specification included.
    """

    backend: str
    source: str

    @property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of backend and source."""
        return sha256(f"{self.backend}\n{self.source}".encode()).hexdigest()[:12]

    @property
    def fixed_sizes(self) -> bool:
        """Whether the source says that it is for the problem's own sizes alone."""
        return f"# {FIXED_SIZES}" in self.source.splitlines()


class BuildFailed(Exception):
    """The source did not compile or its launch specification is wrong; the text says how."""


class NotInterpretable(BuildFailed):
    """Nothing can be said about the source without the device that it is for."""


class TooLarge(BuildFailed):
    """It needs more of something than the device has."""


class NotCompiled(BuildFailed):
    """A call needs code that was not built, where nothing may be."""


@dataclass(frozen=True, slots=True)
class Home:
    """How kernels of a backend run on one kind of device.

    Attributes:
        preload: A module that the process which loads kernels should find imported.
        emulated: Whether they run elsewhere than on the device that they are for.
        called: Whether what is compiled follows from how they are called, so that they are built
            there, for a `Use`.
    """

    preload: str = ""
    emulated: bool = False
    called: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A way to call a kernel, for a home where that decides what is compiled.

    Attributes:
        model: The vendor's name for the device.
        signature: Of the problem.
        arguments: How the flat arguments look.
    """

    model: str
    signature: Signature
    arguments: tuple[TensorSpec, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        looks = [look.as_json() for look in self.arguments]
        return {"model": self.model, "signature": self.signature.as_json(), "arguments": looks}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Use:
        """The inverse of `as_json`."""
        from kernelite.problems.problem import Signature  # heavy: it imports torch

        arguments = tuple(TensorSpec.from_json(look) for look in fields["arguments"])
        return cls(fields["model"], Signature.from_json(fields["signature"]), arguments)


class Entry(Protocol):
    """A built kernel, ready to be called."""

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        """Compute the outputs from the flat arguments, in memory from ``allocate`` if given."""


@runtime_checkable
class Backend(Protocol):
    """Turns source into something callable, in two steps that may run in two processes.

    Attributes:
        suffix: Of the files that it reads.
        marker: What stands in those alone, of all with that suffix; a regular expression.
        devices: Kinds of device that they can be judged on, as PyTorch calls them.
    """

    suffix: str
    marker: str
    devices: Mapping[str, Home]

    def missing(self) -> str | None:
        """What this machine lacks to use the backend, in one line; None if nothing."""

    def artefact(self, kernel: Kernel, use: Use | None = None) -> Path:
        """Where `build` puts the artefact; content-addressed.

        Raises:
            BuildFailed: the launch specification is wrong.
            MachineError: there is no compiler.
        """

    def build(self, kernel: Kernel, use: Use | None = None) -> Path:
        """Compile into the content-addressed cache and return the artefact.

        Where there is a ``use`` it is called, on the current GPU, and may raise what it likes.

        Raises:
            BuildFailed: the kernel is wrong; the text is the compiler's.
            MachineError: the compiler itself could not do its work.
        """

    def load(self, kernel: Kernel, artefact: Path, signature: Signature) -> Entry:
        """Return the entry point for problems of this ``signature``.

        Raises:
            BuildFailed: the artefact has no such entry point.
        """
