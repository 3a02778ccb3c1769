"""pydantic-ai, in an environment of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from google import genai
from pydantic_ai import Agent  # type: ignore[import-not-found]
from pydantic_ai.models.google import GoogleModel  # type: ignore[import-not-found]
from pydantic_ai.providers.google import GoogleProvider  # type: ignore[import-not-found]

from tests.benchmarks.contender import Ask, AskAsync, Contender, Stream, Tools
from tests.benchmarks.work import INSTRUCTIONS, KEY, MODEL


class PydanticAi(Contender):
    """An `Agent` on a `GoogleModel`, on one event loop."""

    distributions = ("pydantic-ai-slim", "google-genai")

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def runner(self, tools: Tools) -> Ask:
        ask = self.async_runner(tools)

        async def one(prompt: str) -> str:
            return await ask(prompt)

        return lambda prompt: self._loop.run_until_complete(one(prompt))

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        agent, history = _agent(tools), list[Any]()

        async def one(prompt: str) -> str:
            result = await agent.run(prompt, message_history=history)
            history[:] = result.all_messages()
            return str(result.output)

        return lambda prompt: self._loop.run_until_complete(one(prompt))

    def streamer(self) -> Stream:
        agent = _agent(())

        def stream(prompt: str) -> Iterator[str]:
            with agent.run_stream_sync(prompt) as result:
                yield from result.stream_text(delta=True, debounce_by=None)

        return stream

    def async_runner(self, tools: Tools) -> AskAsync:
        agent = _agent(tools)

        async def ask(prompt: str) -> str:
            return str((await agent.run(prompt)).output)

        return ask


def _agent(tools: Tools) -> Any:
    provider = GoogleProvider(client=genai.Client(api_key=KEY))
    return Agent(GoogleModel(MODEL, provider=provider), instructions=INSTRUCTIONS, tools=list(tools))


CONTENDER = PydanticAi
