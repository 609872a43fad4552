"""What a run writes down of every call to a language model; see `results.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is about to be put to a model, and the most that it can cost.

    Attributes:
        id: Hash of the request, as in `Answered`.
        version: Hash of the templates of the prompt.
        problem: Id of the problem that it is asked for.
        repeat: How often the same was asked before.
        reserved_usd: None if the model's price is unknown.
        input_usd: The part of it that the prompt alone can cost.
    """

    id: str
    provider: str = ""
    model: str = ""
    purpose: str = ""
    version: str = ""
    problem: str = ""
    system: str = ""
    task: str = ""
    turn: str = ""
    max_output: int = 0
    repeat: int = 0
    reserved_tokens: int = 0
    reserved_usd: float | None = None
    input_tokens: int = 0
    input_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back from one try, and what it cost.

    Attributes:
        ending: `agent.llm.exchange.Ending`; empty if no answer came, and ``error`` says why.
        input: Tokens of the prompt, cached ones included; ``thinking`` is a part of ``output``.
        estimated: Whether the provider counted no tokens, so that ours are estimates.
        usd: None if the model's price is unknown.
    """

    id: str
    provider: str = ""
    model: str = ""
    purpose: str = ""
    version: str = ""
    problem: str = ""
    ending: str = ""
    text: str = ""
    error: str = ""
    input: int = 0
    cached: int = 0
    cache_written: int = 0
    output: int = 0
    thinking: int = 0
    estimated: bool = False
    usd: float | None = None
    latency_s: float | None = None
    request_id: str = ""

    @property
    def cached_share(self) -> float | None:
        """Part of the prompt that came from the provider's cache, 0 to 1; None if unknown."""
        return self.cached / self.input if self.input and not self.estimated else None
