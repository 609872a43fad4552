"""One module per set of measurements, each offering a ``BENCH``; nothing here is a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import RenderableType

from kernelite import plugins
from kernelite.agent import documents
from kernelite.errors import UsageError
from kernelite.problems.suites import families

Say = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes:
        operations: Names to take; empty for all.
        sizes: The same for sizes: ``small``, ``medium``, ``large``.
        seconds: Search per problem.
        regimes: States of the caches to measure in: ``warm``, ``cold``.
        models: Whether to optimize the examples as well.
        corpus: Folder of cheats and honest kernels.
        count: Pairs of a kernel and itself to time.
        kernelbench: A checkout of KernelBench to compare with.
        kernelguard: Whether to compare with the installed kernelguard.
        families: Names of kernel families to take (`problems.suites.families`); empty for all.
        rivals: Where others' GPU kernels are, as ``NAME=FOLDER``.
    """

    operations: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    seconds: float = 8.0
    regimes: tuple[str, ...] = ("warm", "cold")
    models: bool = False
    seed: int = 0
    corpus: Path = Path("tests/exploits")
    count: int = 200
    kernelbench: Path | None = None
    kernelguard: bool = False
    families: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()


@runtime_checkable
class Bench(Protocol):
    """One set of measurements."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """Measure, and return the JSON document.

        Raises:
            UsageError: something was asked for that there is not.
            MachineError: the machine cannot do it.
        """

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """The document for a terminal."""


def bench(name: str) -> Bench:
    """The bench called ``name``.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    return plugins.load(__name__, name, "BENCH", Bench)  # type: ignore[type-abstract]


def run(
    name: str, asked: Request, out: Path | None, say: Say
) -> tuple[dict[str, Any], RenderableType]:
    """Run a bench; its document, also written to ``out`` if there is one, and its view.

    Raises:
        UsageError: something was asked for that there is not.
        MachineError: the machine cannot do it.
    """
    chosen = bench(name)
    if out is not None and not out.resolve().parent.is_dir():
        raise UsageError(f"no folder {out.resolve().parent} to write {out.name} to; make it first")
    document = chosen.run(asked, say)
    if out is not None:
        out.write_text(documents.text(document))
    return document, chosen.view(document)


def request(
    operations: Sequence[str] | None, sizes: Sequence[str] | None, seconds: float,
    regimes: tuple[str, ...], models: bool, seed: int, corpus: str, count: int,
    kernelbench: Path | None, kernelguard: bool, family: Sequence[str] | None,
    rival: Sequence[str] | None,
) -> Request:  # fmt: skip
    """What the command line asked for; a name may be several, separated by commas."""
    return Request(
        _split(operations), _split(sizes), seconds, regimes, models, seed, Path(corpus), count,
        kernelbench, kernelguard, _split(family), tuple(rival or ()),
    )  # fmt: skip


def chosen_families(request: Request) -> list[str]:
    """The families asked for, or all.

    Raises:
        UsageError: one that there is not; the message lists those there are.
    """
    known = families.names()
    if unknown := sorted(set(request.families) - set(known)):
        raise UsageError(f"no family {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if not request.families or name in request.families]


def regimes(warm: bool, cold: bool, both: bool) -> tuple[str, ...]:
    """Both states of the caches, unless one alone was asked for."""
    if both or warm == cold:
        return ("warm", "cold")
    return ("warm",) if warm else ("cold",)


def _split(texts: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())
