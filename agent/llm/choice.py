"""Which models a run may ask, at what price and within what budget, from what a person typed.

``--llm``         ``none``, or ``PROVIDER:MODEL[=WEIGHT]`` separated by commas
``--llm-budget``  ``usd=5,tokens=2000000,kernel-usd=1,kernel-tokens=400000``, any of them
``--llm-price``   ``in=2,out=10,cached=0.2,write=2.5``, in dollars per million tokens
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kernelite import plugins, prompts
from kernelite.agent import providers
from kernelite.agent.llm.calls import Model
from kernelite.agent.llm.exchange import Tokens
from kernelite.agent.llm.spend import FREE, Limits, ListPrice, Price, Tariff
from kernelite.errors import UsageError

NONE = "none"
DEFAULT = Limits(usd=2.0)
FORM = "type PROVIDER:MODEL, several with commas, or none"
BUDGET = ("usd", "tokens", "kernel-usd", "kernel-tokens")
PRICE = ("in", "out", "cached", "write")


@dataclass(frozen=True, slots=True)
class Choice:
    """The models as typed, what they may spend and what they write; no models: no LLM.

    Attributes:
        backend: Of their kernels; C++, the one with real speed on a CPU, if any will do.
    """

    models: tuple[Model, ...]
    limits: Limits
    backend: str


def choose(
    llm: str, budget: str, price: str, backend: str, environment: Mapping[str, str]
) -> Choice:
    """Read the options; reaches no server.

    Raises:
        UsageError: one cannot be read, a key or package is missing, or nothing limits the cost.
    """
    if llm == NONE:
        return Choice((), DEFAULT, backend)
    own, limits = _price(price), _limits(budget)
    models = tuple(_model(part.strip(), own, environment) for part in llm.split(","))
    for model in models:
        unknown = model.tariff.usd(Tokens(input=1, output=1)) is None
        if unknown and limits.tokens is None:
            raise UsageError(
                f"the price of {model.label} is unknown, so dollars cannot limit it; add"
                " --llm-price in=2,out=10 (per million tokens; 0 for your own server)"
                " or --llm-budget tokens=2000000"
            )
    return Choice(models, limits, _written(backend))


def _written(backend: str) -> str:
    """The backend, if there is a guide to tell models about it."""
    name = "cpp" if backend == "all" else backend
    if not prompts.exists(f"guide_{name}"):
        known = [n for n in plugins.names("kernelite.kernels.backends")
                 if prompts.exists(f"guide_{n}")]  # fmt: skip
        raise UsageError(
            f"models write no kernels for {name}; --backend may be: {', '.join(known)}"
        )
    return name


def _model(text: str, own: Price | None, environment: Mapping[str, str]) -> Model:
    found = re.fullmatch(r"(\w+):(.*?)(?:=(\d+(?:\.\d+)?))?", text)
    if not found:
        raise UsageError(f"--llm {text!r} names no model; {FORM}")
    name, model, weight = found.groups()
    provider = providers.provider(name)
    if not model:
        raise UsageError(f"--llm {text!r} names no model; {FORM}")
    tariff: Tariff = own or ListPrice(name, model) if provider.priced else FREE
    client = provider.client(model, environment)
    parallel, patience_s = provider.parallel, provider.patience_s
    return Model(name, model, client, tariff, parallel, patience_s, float(weight or 1))


def _limits(text: str) -> Limits:
    if not text:
        return DEFAULT
    found = _numbers("--llm-budget", text, BUDGET)
    tokens, kernel_tokens = (
        None if (value := found.get(name)) is None else int(value)
        for name in ("tokens", "kernel-tokens")
    )
    return Limits(found.get("usd"), tokens, found.get("kernel-usd"), kernel_tokens)


def _price(text: str) -> Price | None:
    if not text:
        return None
    found = _numbers("--llm-price", text, PRICE)
    if not {"in", "out"} <= set(found):
        raise UsageError(f"--llm-price {text!r} lacks in or out; type in=2,out=10")
    plain = found["in"]
    return Price(plain, found["out"], found.get("cached", plain), found.get("write", plain))


def _numbers(option: str, text: str, names: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in names or not 0 <= number < math.inf:
            raise UsageError(
                f"{option} {text!r}: {part.strip()!r} is none of"
                f" {', '.join(f'{known}=NUMBER' for known in names)}"
            )
        found[name] = number
    return found
