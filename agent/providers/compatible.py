"""Any server with OpenAI's Chat Completions: ``--llm compatible:MODEL@http://HOST:PORT/v1``.

vLLM, Ollama, llama.cpp and hosted ones.  Of everything optional only a count of
the tokens is asked for, and not even that of a server that refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from kernelite.agent.llm import keys
from kernelite.agent.llm.exchange import Ending, Reply, Request, Tokens, Trouble, estimated
from kernelite.agent.llm.keys import Key
from kernelite.agent.providers import _sdk
from kernelite.agent.providers._sdk import count
from kernelite.errors import UsageError

ENDINGS = {"stop": Ending.DONE, "length": Ending.TRUNCATED, "content_filter": Ending.REFUSED}


class Compatible:
    """Its key, if the server wants one, is its own: OpenAI's is never sent to others."""

    parallel = _sdk.PARALLEL
    priced = True
    patience_s = _sdk.CALL_S

    def client(self, model: str, environment: Mapping[str, str]) -> ChatClient:
        """See `agent.providers.Provider`."""
        name, _, url = model.rpartition("@")
        if not name or not url.startswith(("http://", "https://")):
            raise UsageError(
                f"compatible:{model} names no server; type compatible:MODEL@http://HOST:PORT/v1"
            )
        return ChatClient(_sdk.sdk("openai"), name, url, keys.find("compatible", environment))


class ChatClient:
    """See `agent.llm.exchange.Client`."""

    def __init__(self, module: ModuleType, model: str, url: str, key: Key | None) -> None:
        self.module, self.model, self.key = module, model, key
        self.sdk = module.AsyncOpenAI(base_url=url, **_sdk.options(module, key))
        self.optional: dict[str, Any] = {"stream_options": {"include_usage": True}}
        self.limit = "max_tokens"

    async def complete(self, request: Request) -> Reply:
        """Ask once; again without a parameter that the server says it does not know."""
        with _sdk.translated(self.module, f"compatible:{self.model}", self.key):
            try:
                return await self._ask(request)
            except self.module.BadRequestError as error:
                if not self._gave_way(str(error)):
                    raise
            return await self._ask(request)

    async def close(self) -> None:
        """Close the connections."""
        await self.sdk.close()

    def _gave_way(self, complaint: str) -> bool:
        """Leave out what the complaint names, for good; False if it names nothing of ours."""
        for name in list(self.optional):
            if name in complaint:
                del self.optional[name]
                return True
        if self.limit in complaint and "max_completion_tokens" in complaint:
            self.limit = "max_completion_tokens"
            return True
        return False

    async def _ask(self, request: Request) -> Reply:
        prompt = request.prompt
        messages = [{"role": "system", "content": prompt.system},
                    {"role": "user", "content": f"{prompt.task}\n\n{prompt.turn}"}]  # fmt: skip
        text, reason, usage, refused, identity = "", None, None, False, ""
        async with await self.sdk.chat.completions.create(
            model=self.model, messages=messages, stream=True,
            **{self.limit: request.max_output}, **self.optional,
        ) as stream:  # fmt: skip
            async for chunk in stream:
                identity, usage = chunk.id or identity, chunk.usage or usage
                for choice in chunk.choices or ():
                    text += choice.delta.content or ""
                    refused = refused or bool(getattr(choice.delta, "refusal", None))
                    reason = choice.finish_reason or reason
        if reason is None:
            who = f"compatible:{self.model}"
            raise Trouble(f"{who} ended its stream in the midst of it", again=True, billed=True)
        ending = Ending.REFUSED if refused else ENDINGS.get(reason, Ending.DONE)
        if ending is Ending.DONE and not text.strip():
            ending = Ending.EMPTY
        tokens = estimated(request, text) if usage is None else _tokens(usage)
        return Reply(text, ending, tokens, identity)


def _tokens(usage: Any) -> Tokens:
    return Tokens(
        input=count(usage, "prompt_tokens"),
        cached=count(usage, "prompt_tokens_details.cached_tokens"),
        cache_written=count(usage, "prompt_tokens_details.cache_write_tokens"),
        output=count(usage, "completion_tokens"),
        thinking=count(usage, "completion_tokens_details.reasoning_tokens"),
    )


PROVIDER = Compatible()
