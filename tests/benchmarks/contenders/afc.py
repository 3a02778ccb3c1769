"""google-genai's automatic function calling: functions go in, the answer comes out."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types

from tests.benchmarks.contender import Ask, AskAsync, Contender, Tools
from tests.benchmarks.work import INSTRUCTIONS, KEY, MODEL


class Afc(Contender):
    """The SDK runs the calls, one after another."""

    distributions = ("google-genai",)

    def __init__(self) -> None:
        self._client = genai.Client(api_key=KEY)

    def runner(self, tools: Tools) -> Ask:
        config = _config(tools)
        models = self._client.models
        return lambda prompt: models.generate_content(model=MODEL, contents=prompt, config=config).text or ""

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        chat = self._client.chats.create(model=MODEL, config=_config(tools))
        return lambda prompt: chat.send_message(prompt).text or ""

    def async_runner(self, tools: Tools) -> AskAsync:
        config = _config(tools)

        async def ask(prompt: str) -> str:
            reply = await self._client.aio.models.generate_content(
                model=MODEL, contents=prompt, config=config
            )
            return reply.text or ""

        return ask


def _config(tools: Tools) -> types.GenerateContentConfig:
    given: Any = list(tools)
    return types.GenerateContentConfig(
        system_instruction=INSTRUCTIONS,
        tools=given,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(maximum_remote_calls=100),
    )


CONTENDER = Afc
