"""google-adk, in an environment of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

from google.adk.agents import LlmAgent, RunConfig  # type: ignore[import-untyped]
from google.adk.agents.run_config import StreamingMode  # type: ignore[import-untyped]
from google.adk.runners import Runner  # type: ignore[import-untyped]
from google.adk.sessions import InMemorySessionService  # type: ignore[import-untyped]
from google.genai import types

from tests.benchmarks.contender import Ask, AskAsync, Contender, Stream, Tools
from tests.benchmarks.work import INSTRUCTIONS, MODEL

_APP = "benchmark"


class Adk(Contender):
    """An `LlmAgent` with a `Runner` and sessions in memory, on one event loop."""

    distributions = ("google-adk", "google-genai")

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count()

    def runner(self, tools: Tools) -> Ask:
        ask = self.async_runner(tools)

        async def one(prompt: str) -> str:
            return await ask(prompt)

        return lambda prompt: self._loop.run_until_complete(one(prompt))

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        runner = _runner(tools)
        session = self._loop.run_until_complete(self._session(runner))

        async def one(prompt: str) -> str:
            return "".join([text async for text in _texts(runner, session, prompt)])

        return lambda prompt: self._loop.run_until_complete(one(prompt))

    def streamer(self) -> Stream:
        runner = _runner(())
        config = RunConfig(streaming_mode=StreamingMode.SSE)

        def stream(prompt: str) -> Iterator[str]:
            session = self._loop.run_until_complete(self._session(runner))
            texts = _texts(runner, session, prompt, config, partial=True)
            while (text := self._loop.run_until_complete(anext(texts, None))) is not None:
                yield text

        return stream

    def async_runner(self, tools: Tools) -> AskAsync:
        runner = _runner(tools)

        async def ask(prompt: str) -> str:
            session = await self._session(runner)
            return "".join([text async for text in _texts(runner, session, prompt)])

        return ask

    async def _session(self, runner: Any) -> str:
        id = f"session-{next(self._numbers)}"
        await runner.session_service.create_session(app_name=_APP, user_id="ann", session_id=id)
        return id


def _runner(tools: Tools) -> Any:
    agent = LlmAgent(model=MODEL, name="calculator", instruction=INSTRUCTIONS, tools=list(tools))
    return Runner(app_name=_APP, agent=agent, session_service=InMemorySessionService())


async def _texts(
    runner: Any, session: str, prompt: str, config: Any = None, *, partial: bool = False
) -> AsyncIterator[str]:
    message = types.Content(role="user", parts=[types.Part(text=prompt)])
    more = {"run_config": config} if config else {}
    async for event in runner.run_async(user_id="ann", session_id=session, new_message=message, **more):
        if bool(event.partial) is partial and event.content:
            for part in event.content.parts or ():
                if part.text:
                    yield part.text


CONTENDER = Adk
