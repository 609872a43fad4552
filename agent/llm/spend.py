"""What calls may cost and do cost: reserve the worst case before one, settle after it.

Parallel calls cannot overshoot a limit, for what is in flight counts in full.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Protocol

from kernelite.agent.llm.exchange import Request, Tokens

FRAME_TOKENS = 200  # of a request, besides its texts; generous
PER_MILLION = 1e-6


class Exhausted(Exception):
    """The budget does not cover the call; the text says which limit."""


class Tariff(Protocol):
    """The price of a model's tokens."""

    def usd(self, tokens: Tokens) -> float | None:
        """What they cost; None if the price is unknown."""


@dataclass(frozen=True, slots=True)
class Price:
    """A price that a user gave, in dollars per million tokens."""

    input: float
    output: float
    cached: float
    cache_write: float

    def usd(self, tokens: Tokens) -> float | None:
        """See `Tariff`."""
        fresh = tokens.input - tokens.cached - tokens.cache_written
        return PER_MILLION * (
            fresh * self.input + tokens.cached * self.cached
            + tokens.cache_written * self.cache_write + tokens.output * self.output
        )  # fmt: skip


FREE = Price(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ListPrice:
    """The provider's public price, from the table that genai-prices ships; never the network."""

    provider: str
    model: str

    def usd(self, tokens: Tokens) -> float | None:
        """See `Tariff`."""
        try:
            from genai_prices import Usage, calc_price  # optional, and only paid calls need it
        except ModuleNotFoundError:
            return None
        usage = Usage(
            input_tokens=tokens.input, cache_read_tokens=tokens.cached,
            cache_write_tokens=tokens.cache_written, output_tokens=tokens.output,
        )  # fmt: skip
        try:
            found = calc_price(usage, model_ref=self.model, provider_id=self.provider)
        except LookupError:
            return None
        return float(found.total_price)


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that a call can use: of its prompt alone, and with the longest answer."""

    prompt: Tokens
    prompt_usd: float | None
    tokens: int
    usd: float | None


def worst(request: Request, tariff: Tariff) -> Worst:
    """An upper bound: a token of any tokenizer in use stands for at least one byte."""
    size = len(request.prompt.text.encode("utf-8", "replace")) + FRAME_TOKENS
    prompt = Tokens(input=size, estimated=True)
    written = replace(prompt, cache_written=size)  # dearer than plain input at some providers
    prompt_usd, usd = (
        _larger(tariff.usd(replace(prompt, output=n)), tariff.usd(replace(written, output=n)))
        for n in (0, request.max_output)
    )
    return Worst(prompt, prompt_usd, size + request.max_output, usd)


def _larger(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a run, and of each kernel in it; None is no limit."""

    usd: float | None = None
    tokens: int | None = None
    kernel_usd: float | None = None
    kernel_tokens: int | None = None


@dataclass(slots=True)
class Account:
    """What has been spent and what is reserved."""

    usd: float = 0.0
    tokens: int = 0

    def add(self, tokens: int, usd: float | None) -> None:
        """Change both; negative numbers give a reservation back."""
        self.tokens += tokens
        self.usd += usd or 0.0


class Ledger:
    """One run's spending, by kernel; of one thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.run = Account()
        self.kernels: defaultdict[str, Account] = defaultdict(Account)

    def charge(self, problem: str, tokens: int, usd: float | None) -> None:
        """Add to what has been spent for a problem's kernels."""
        self.run.add(tokens, usd)
        self.kernels[problem].add(tokens, usd)

    def reserve(self, problem: str, most: Worst) -> None:
        """Set the worst case aside.

        Raises:
            Exhausted: a limit does not allow it; nothing is set aside.
        """
        kernel, limits = self.kernels[problem], self.limits
        for what, spent, more, limit in (
            ("dollars for the run", self.run.usd, most.usd, limits.usd),
            ("dollars for this kernel", kernel.usd, most.usd, limits.kernel_usd),
            ("tokens for the run", self.run.tokens, most.tokens, limits.tokens),
            ("tokens for this kernel", kernel.tokens, most.tokens, limits.kernel_tokens),
        ):
            if limit is not None and spent + (more or 0) > limit:
                raise Exhausted(
                    f"of {limit:,} {what} {round(spent, 4):,} are spent or reserved,"
                    f" and the next call may take {round(more or 0, 4):,}"
                )
        self.charge(problem, most.tokens, most.usd)

    def settle(self, problem: str, most: Worst, tokens: int, usd: float | None) -> None:
        """Replace a reservation by what the call really took."""
        self.charge(problem, -most.tokens, None if most.usd is None else -most.usd)
        self.charge(problem, tokens, usd)
