"""What the two official SDKs have in common: how they are found, configured, and how they fail.

Their own retries are off: Anthropic's obeys any ``retry-after``, for hours if the
server says so, and neither knows a budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from kernelite.agent.llm.exchange import Trouble, expecting
from kernelite.agent.llm.keys import Key
from kernelite.errors import UsageError

CONNECT_S, SILENCE_S, CALL_S = 5.0, 120.0, 600.0
PARALLEL = 16
#: Of an error's type or code: more money is needed, not more patience.
SPENT = ("insufficient_quota", "billing", "spend", "payment", "credit")
OVERFLOW = ("context_length_exceeded", "maximum context length", "prompt is too long",
            "exceeds the available context", "exceed context")  # fmt: skip


def sdk(name: str) -> ModuleType:
    """The installed SDK.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        text = f"this needs the package {name}; install it: pip install 'kernelite[llm]'"
        raise UsageError(text) from None


def options(module: ModuleType, key: Key | None) -> Mapping[str, Any]:
    """Arguments of every SDK client; a server that wants no key gets a word that is none."""
    timeout = module.Timeout(CALL_S, connect=CONNECT_S, read=SILENCE_S)
    return {"api_key": key.value if key else "none", "timeout": timeout, "max_retries": 0}


@contextmanager
def translated(module: ModuleType, who: str, key: Key | None) -> Iterator[None]:
    """Turn an SDK's errors into ours; chains none of them, for they hold the request's headers."""
    try:
        with expecting(f"{who} broke its protocol"):
            yield
    except module.APITimeoutError:
        text = f"{who} was silent for too long"
        raise Trouble(text, again=True, billed=True) from None
    except (module.APIConnectionError, _transport_error()) as error:
        raise _disconnected(who, error) from None
    except module.APIError as error:
        raise _refused(who, key, error) from None


def _transport_error() -> type[Exception]:
    """What Anthropic's SDK lets through where a stream breaks."""
    from httpx2 import TransportError  # both SDKs bring it

    return TransportError


def _disconnected(who: str, error: Exception) -> Trouble:
    """A server that was never reached charges nothing; one that hung up may."""
    from httpx2 import ConnectError, ConnectTimeout

    if isinstance(error.__cause__, ConnectError | ConnectTimeout):
        return Trouble(f"{who} cannot be reached", again=True)
    return Trouble(f"{who} broke the connection off", again=True, billed=True)


def _refused(who: str, key: Key | None, error: Any) -> Exception:
    status = getattr(error, "status_code", None)
    inner = error.body if isinstance(error.body, Mapping) else {}
    inner = inner["error"] if isinstance(inner.get("error"), Mapping) else inner
    kind = " ".join(str(inner[name]) for name in ("type", "code") if inner.get(name)).lower()
    said = str(inner.get("message") or error.message)
    said = " ".join((key.hide(said) if key else said).split())[:200]
    text = f"{who} answered {status or 'with an error'}: {said}"
    if status in (401, 403):
        origin = f"from {key.origin}" if key else "that was not sent; set the provider's variable"
        return UsageError(f"{who} refused the key {origin} ({status})")
    if status == 404:
        return UsageError(f"{text}; is the name of the model right?")
    if status == 402 or any(word in kind for word in SPENT):
        return Trouble(text)
    if status == 413 or any(word in f"{kind} {said.lower()}" for word in OVERFLOW):
        return Trouble(text, full=True)
    if status in (None, 200):  # an error in the midst of a stream
        return Trouble(text, again=True, billed=True)
    if status in (408, 409, 429) or status >= 500:
        billed = status in (500, 502, 504)
        return Trouble(text, again=True, wait_s=_retry_after_s(error.response), billed=billed)
    return Trouble(text)


def _retry_after_s(response: Any) -> float | None:
    """The header's seconds; a date in it is not read, own back-off does for that."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def count(usage: Any, path: str) -> int:
    """A whole number somewhere in an SDK's object; 0 if a server leaves it out."""
    for name in path.split("."):
        usage = getattr(usage, name, None)
    return usage if isinstance(usage, int) and usage > 0 else 0
