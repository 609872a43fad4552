"""OpenAI's Responses API: ``--llm openai:MODEL``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from kernelite.agent.llm import keys
from kernelite.agent.llm.exchange import Ending, Reply, Request, Tokens, Trouble, estimated
from kernelite.agent.llm.keys import Key
from kernelite.agent.providers import _sdk
from kernelite.agent.providers._sdk import count

ENDINGS = {"max_output_tokens": Ending.TRUNCATED, "content_filter": Ending.REFUSED}


class OpenAI:
    """Streams, and leaves nothing on OpenAI's servers."""

    parallel = _sdk.PARALLEL
    priced = True
    patience_s = _sdk.CALL_S

    def client(self, model: str, environment: Mapping[str, str]) -> ResponsesClient:
        """See `agent.providers.Provider`."""
        return ResponsesClient(_sdk.sdk("openai"), model, keys.needed("openai", environment))


class ResponsesClient:
    """See `agent.llm.exchange.Client`; ``url`` is OpenAI's own if None."""

    def __init__(self, module: ModuleType, model: str, key: Key, url: str | None = None) -> None:
        self.module, self.model = module, model
        self.key: Key | None = key
        self.sdk = module.AsyncOpenAI(base_url=url, **_sdk.options(module, key))

    async def complete(self, request: Request) -> Reply:
        """Ask once."""
        prompt = request.prompt
        parts = [{"type": "input_text", "text": text} for text in (prompt.task, prompt.turn)]
        final = None
        with _sdk.translated(self.module, f"openai:{self.model}", self.key):
            async with await self.sdk.responses.create(
                model=self.model, instructions=prompt.system, stream=True, store=False,
                input=[{"role": "user", "content": parts}], prompt_cache_key=request.cache_key,
                max_output_tokens=request.max_output,
            ) as stream:  # fmt: skip
                async for event in stream:
                    if event.type in ("response.completed", "response.incomplete"):
                        final = event.response
                    elif event.type in ("response.failed", "error"):
                        raise Trouble(_failure(event), again=True, billed=True)
            if final is None:
                text = f"openai:{self.model} ended its stream without an answer"
                raise Trouble(text, again=True, billed=True)
            return _reply(request, final)

    async def close(self) -> None:
        """Close the connections."""
        await self.sdk.close()


def _failure(event: Any) -> str:
    response = getattr(event, "response", None)
    error = getattr(response, "error", None) or event
    return f"openai gave up in the midst of an answer: {getattr(error, 'message', 'no reason')}"


def _reply(request: Request, final: Any) -> Reply:
    """The answer; its text must not hold what the model refused to say."""
    contents = [c for item in final.output if item.type == "message" for c in item.content]
    text = "".join(c.text for c in contents if c.type == "output_text")
    reason = getattr(final.incomplete_details, "reason", None)
    ending = ENDINGS.get(reason or "", Ending.DONE if text.strip() else Ending.EMPTY)
    if any(c.type == "refusal" for c in contents):
        ending = Ending.REFUSED
    usage = final.usage
    tokens = estimated(request, text) if usage is None else Tokens(
        input=count(usage, "input_tokens"),
        cached=count(usage, "input_tokens_details.cached_tokens"),
        cache_written=count(usage, "input_tokens_details.cache_write_tokens"),
        output=count(usage, "output_tokens"),
        thinking=count(usage, "output_tokens_details.reasoning_tokens"),
    )  # fmt: skip
    return Reply(text, ending, tokens, str(final.id))


PROVIDER = OpenAI()
