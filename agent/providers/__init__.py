"""Who answers: one module per way to reach a language model, each offering a ``PROVIDER``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from kernelite import plugins
from kernelite.agent.llm.exchange import Client


@runtime_checkable
class Provider(Protocol):
    """A way to reach models.

    Attributes:
        parallel: Calls that may be in flight at once.
        priced: Whether its answers cost money.
        patience_s: What one answer may take.
    """

    parallel: int
    priced: bool
    patience_s: float

    def client(self, model: str, environment: Mapping[str, str]) -> Client:
        """A client for what stands behind ``PROVIDER:`` in ``--llm``; reaches nobody yet.

        Raises:
            UsageError: no such model can be meant, a key or a package is missing.
        """


def provider(name: str) -> Provider:
    """The provider of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    return plugins.load(__name__, name, "PROVIDER", Provider)  # type: ignore[type-abstract]


def names() -> list[str]:
    """Names of all providers."""
    return plugins.names(__name__)
