"""Anthropic's Messages API: ``--llm anthropic:MODEL``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from kernelite.agent.llm import keys
from kernelite.agent.llm.exchange import Ending, Reply, Request, Tokens, Trouble
from kernelite.agent.llm.keys import Key
from kernelite.agent.providers import _sdk
from kernelite.agent.providers._sdk import count

ENDINGS = {
    "end_turn": Ending.DONE,
    "stop_sequence": Ending.DONE,
    "max_tokens": Ending.TRUNCATED,
    "refusal": Ending.REFUSED,
    "model_context_window_exceeded": Ending.CONTEXT_FULL,
}
CACHED = {"cache_control": {"type": "ephemeral"}}


class Anthropic:
    """Streams always: without it the SDK refuses long answers."""

    parallel = _sdk.PARALLEL
    priced = True
    patience_s = _sdk.CALL_S

    def client(self, model: str, environment: Mapping[str, str]) -> MessagesClient:
        """See `agent.providers.Provider`."""
        return MessagesClient(_sdk.sdk("anthropic"), model, keys.needed("anthropic", environment))


class MessagesClient:
    """See `agent.llm.exchange.Client`; ``url`` is Anthropic's own if None."""

    def __init__(self, module: ModuleType, model: str, key: Key, url: str | None = None) -> None:
        self.module, self.model = module, model
        self.key: Key | None = key
        self.sdk = module.AsyncAnthropic(base_url=url, **_sdk.options(module, key))

    async def complete(self, request: Request) -> Reply:
        """Ask once; the prompt's two stable parts end at breakpoints of the cache."""
        prompt = request.prompt
        parts = [_part(prompt.task) | CACHED, _part(prompt.turn)]
        with _sdk.translated(self.module, f"anthropic:{self.model}", self.key):
            async with self.sdk.messages.stream(
                model=self.model, max_tokens=request.max_output,
                system=[_part(prompt.system) | CACHED],
                messages=[{"role": "user", "content": parts}], thinking={"type": "adaptive"},
            ) as stream:  # fmt: skip
                return self._reply(await stream.get_final_message())

    async def close(self) -> None:
        """Close the connections."""
        await self.sdk.close()

    def _reply(self, message: Any) -> Reply:
        """The answer; Anthropic's input tokens leave out the cached ones, ours do not."""
        if message.stop_reason is None:
            who = f"anthropic:{self.model}"
            raise Trouble(f"{who} ended its stream in the midst of it", again=True, billed=True)
        text = "".join(block.text for block in message.content if block.type == "text")
        ending = ENDINGS.get(message.stop_reason, Ending.DONE)
        if ending is Ending.DONE and not text.strip():
            ending = Ending.EMPTY
        usage = message.usage
        cached = count(usage, "cache_read_input_tokens")
        written = count(usage, "cache_creation_input_tokens")
        tokens = Tokens(
            input=count(usage, "input_tokens") + cached + written, cached=cached,
            cache_written=written, output=count(usage, "output_tokens"),
            thinking=count(usage, "output_tokens_details.thinking_tokens"),
        )  # fmt: skip
        return Reply(text, ending, tokens, str(message.id))


def _part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


PROVIDER = Anthropic()
