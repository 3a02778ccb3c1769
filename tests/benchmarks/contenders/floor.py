"""The floor: the loop by hand on httpx2, with plain dicts and json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.benchmarks.contender import Ask, AskAsync, Contender, Stream, Tools, gathered
from tests.benchmarks.work import INSTRUCTIONS, KEY, MODEL, declaration

Json = dict[str, Any]
_URL = "{}/v1beta/models/" + MODEL + ":{}"


class Floor(Contender):
    """As little as the work can be done with."""

    distributions = ("httpx2",)

    def __init__(self) -> None:
        self._url = os.environ["GOOGLE_GEMINI_BASE_URL"]
        self._headers = {"x-goog-api-key": KEY, "content-type": "application/json"}
        self._client = httpx2.Client(headers=self._headers)
        self._pool = ThreadPoolExecutor(8)

    def runner(self, tools: Tools) -> Ask:
        request = _request(tools)
        return lambda prompt: self._run(request, [], tools, prompt)

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        request, contents = _request(tools), list[Json]()
        return lambda prompt: self._run(request, contents, tools, prompt)

    def streamer(self) -> Stream:
        request = _request(())
        url = _URL.format(self._url, "streamGenerateContent?alt=sse")

        def stream(prompt: str) -> Iterator[str]:
            body = json.dumps({**request, "contents": [_user(prompt)]}).encode()
            with self._client.stream("POST", url, content=body, timeout=60) as response:
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        yield _text(json.loads(line[6:])["candidates"][0]["content"])

        return stream

    def async_runner(self, tools: Tools) -> AskAsync:
        request, by_name = _request(tools), {tool.__name__: tool for tool in tools}
        client = httpx2.AsyncClient(headers=self._headers, timeout=60)
        url = _URL.format(self._url, "generateContent")

        async def ask(prompt: str) -> str:
            contents = [_user(prompt)]
            while True:
                body = json.dumps({**request, "contents": contents}).encode()
                reply = json.loads((await client.post(url, content=body)).content)
                content = reply["candidates"][0]["content"]
                contents.append(content)
                calls = _calls(content)
                if not calls:
                    return _text(content)
                results = await gathered([by_name[call["name"]](**call["args"]) for call in calls])
                contents.append(_responses(calls, results))

        return ask

    def hold(self, contents: Sequence[Json]) -> Any:
        held = list(contents)
        self._run(_request(()), held, (), "Go on. chain=0")
        return held

    def _run(self, request: Json, contents: list[Json], tools: Tools, prompt: str) -> str:
        by_name = {tool.__name__: tool for tool in tools}
        url = _URL.format(self._url, "generateContent")
        contents.append(_user(prompt))
        while True:
            body = json.dumps({**request, "contents": contents}).encode()
            reply = json.loads(self._client.post(url, content=body, timeout=60).content)
            content = reply["candidates"][0]["content"]
            contents.append(content)
            calls = _calls(content)
            if not calls:
                return _text(content)
            if len(calls) == 1:
                results = [by_name[calls[0]["name"]](**calls[0]["args"])]
            else:
                results = list(self._pool.map(lambda call: by_name[call["name"]](**call["args"]), calls))
            contents.append(_responses(calls, results))


def _request(tools: Tools) -> Json:
    request: Json = {"systemInstruction": {"role": "user", "parts": [{"text": INSTRUCTIONS}]}}
    if tools:
        request["tools"] = [{"functionDeclarations": [declaration(tool) for tool in tools]}]
    return request


def _user(prompt: str) -> Json:
    return {"role": "user", "parts": [{"text": prompt}]}


def _calls(content: Json) -> list[Json]:
    return [part["functionCall"] for part in content["parts"] if "functionCall" in part]


def _text(content: Json) -> str:
    return "".join(part.get("text", "") for part in content["parts"])


def _responses(calls: Sequence[Json], results: Sequence[Any]) -> Json:
    parts = [
        {"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": result}}}
        for call, result in zip(calls, results, strict=True)
    ]
    return {"role": "user", "parts": parts}


CONTENDER = Floor
