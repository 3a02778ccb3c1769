"""The loop by hand on google-genai: a history of `types.Content`, declarations, and calls run by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google import genai
from google.genai import types

from tests.benchmarks.contender import Ask, AskAsync, Contender, Stream, Tools, gathered
from tests.benchmarks.work import INSTRUCTIONS, KEY, MODEL, declaration


class Sdk(Contender):
    """google-genai as its documentation shows it for function calling by hand."""

    distributions = ("google-genai",)

    def __init__(self) -> None:
        self._client = genai.Client(api_key=KEY)
        self._pool = ThreadPoolExecutor(8)

    def runner(self, tools: Tools) -> Ask:
        config = _config(tools)
        return lambda prompt: self._run(config, [], tools, prompt)

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        config, contents = _config(tools), list[types.Content]()
        return lambda prompt: self._run(config, contents, tools, prompt)

    def streamer(self) -> Stream:
        config = _config(())

        def stream(prompt: str) -> Iterator[str]:
            for chunk in self._client.models.generate_content_stream(
                model=MODEL, contents=[_user(prompt)], config=config
            ):
                yield chunk.text or ""

        return stream

    def async_runner(self, tools: Tools) -> AskAsync:
        config, by_name = _config(tools), {tool.__name__: tool for tool in tools}

        async def ask(prompt: str) -> str:
            contents: Any = [_user(prompt)]
            while True:
                reply = await self._client.aio.models.generate_content(
                    model=MODEL, contents=contents, config=config
                )
                contents.append(_content(reply))
                calls = reply.function_calls
                if not calls:
                    return reply.text or ""
                results = await gathered([by_name[call.name or ""](**(call.args or {})) for call in calls])
                contents.append(_responses(calls, results))

        return ask

    def hold(self, contents: Sequence[dict[str, Any]]) -> Any:
        held = [types.Content.model_validate(content) for content in contents]
        self._run(_config(()), held, (), "Go on. chain=0")
        return held

    def _run(
        self, config: types.GenerateContentConfig, contents: list[types.Content], tools: Tools, prompt: str
    ) -> str:
        by_name = {tool.__name__: tool for tool in tools}
        contents.append(_user(prompt))
        while True:
            given: Any = contents
            reply = self._client.models.generate_content(model=MODEL, contents=given, config=config)
            contents.append(_content(reply))
            calls = reply.function_calls
            if not calls:
                return reply.text or ""
            if len(calls) == 1:
                results = [by_name[calls[0].name or ""](**(calls[0].args or {}))]
            else:
                results = list(
                    self._pool.map(lambda call: by_name[call.name or ""](**(call.args or {})), calls)
                )
            contents.append(_responses(calls, results))


def _config(tools: Tools) -> types.GenerateContentConfig:
    declarations: Any = [
        types.FunctionDeclaration(
            name=each["name"],
            description=each["description"],
            parameters_json_schema=each["parametersJsonSchema"],
        )
        for each in map(declaration, tools)
    ]
    return types.GenerateContentConfig(
        system_instruction=INSTRUCTIONS,
        tools=[types.Tool(function_declarations=declarations)] if tools else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _user(prompt: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=prompt)])


def _content(reply: types.GenerateContentResponse) -> types.Content:
    content = reply.candidates[0].content if reply.candidates else None
    if content is None:
        raise ValueError(f"no content in {reply!r}")
    return content


def _responses(calls: Sequence[types.FunctionCall], results: Sequence[Any]) -> types.Content:
    parts = [
        types.Part(
            function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": result})
        )
        for call, result in zip(calls, results, strict=True)
    ]
    return types.Content(role="user", parts=parts)


CONTENDER = Sdk
