"""A Gemini-compatible server over an agent: its tools run here, and the client sees a model that answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from agentkit import Agent, AgentError, ConfigurationError, HistoryError, ModelError, Run
from agentkit.run import AsyncRunStream
from agentkit.serve.api import read_json
from agentkit.serve.gemini_wire import Chunks, options_of, read_request, reply_of
from agentkit.serve.guard import STATUS, BodyLimit, SafeHeaders, SameOrigin, TokenGate, gemini_error
from agentkit.serve.live import TooManyRuns
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject, encode_request

T = TypeVar("T")


class GeminiServer:
    """Answers clients of the Gemini API.

    Args:
        agent: Answers.
        name: The model's name, as clients say it.
        concurrency: How many runs may go on at a time.
        seconds: How long a run may take, if the agent's limits don't say less.
    """

    def __init__(self, agent: Agent, name: str, *, concurrency: int, seconds: float | None) -> None:
        self._agent = agent
        self._name = name
        self._free = concurrency
        known = [each for each in (agent.limits.seconds, seconds) if each is not None]
        self._limits = replace(agent.limits, seconds=min(known, default=None))

    def routes(self) -> list[BaseRoute]:
        """List the routes, for any version of the API."""
        return [
            Route("/{version}/models", self._list),
            Route("/{version}/models/{name}", self._get),
            Route("/{version}/models/{rest:path}", self._post, methods=["POST"]),
        ]

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"models": [self._card()]})

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(self._card()) if name == self._name else self._unknown(name)

    def _card(self) -> JsonObject:
        return {
            "name": f"models/{self._name}",
            "version": "1",
            "displayName": self._agent.name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        }

    def _unknown(self, name: str) -> Response:
        return gemini_error(404, f"models/{name} is not found; there is models/{self._name}.")

    async def _post(self, request: Request) -> Response:
        name, _, method = request.path_params["rest"].partition(":")
        if name != self._name:
            return self._unknown(name)
        body = await read_json(request)
        match method:
            case "generateContent":
                return await self._generate(request, body)
            case "streamGenerateContent":
                return self._stream(request, body)
            case "countTokens":
                return self._count(body)
        return gemini_error(404, f"Method {method} not found.")

    async def _generate(self, request: Request, body: JsonObject) -> Response:
        stream = self._begin(body)
        try:
            run = await _while_connected(request, _drain(stream))
        finally:
            self._free += 1
        return Response(status_code=499) if run is None else JSONResponse(reply_of(run, self._name))

    def _stream(self, request: Request, body: JsonObject) -> Response:
        stream = self._begin(body)
        sse = request.query_params.get("alt") == "sse"
        kind = "text/event-stream" if sse else "application/json"
        return StreamingResponse(self._lines(stream, sse=sse), media_type=kind)

    def _begin(self, body: JsonObject) -> AsyncRunStream[Any]:
        asked = read_request(body)
        if self._free <= 0:
            raise TooManyRuns("Too many runs go on; try again a little later.")
        options: Any = {**options_of(self._agent, asked), "limits": self._limits}
        stream = self._agent.aio.stream(asked.contents[-1], **options)
        self._free -= 1
        return stream

    def _count(self, body: JsonObject) -> Response:
        inner = body.get("generateContentRequest") or body.get("generate_content_request") or body
        asked = read_request(inner)
        size = len(encode_request({"contents": asked.contents})) + len(asked.instructions or "")
        return JSONResponse({"totalTokens": max(1, size // 4)})

    async def _lines(self, stream: AsyncRunStream[Any], *, sse: bool) -> AsyncIterator[str]:
        lead = "["
        try:
            async for chunk in self._chunks(stream):
                text = json.dumps(chunk)
                yield f"data: {text}\r\n\r\n" if sse else lead + text
                lead = ",\r\n"
            if not sse:
                yield "]"
        finally:
            self._free += 1

    async def _chunks(self, stream: AsyncRunStream[Any]) -> AsyncIterator[JsonObject]:
        chunks = Chunks(self._name)
        try:
            async with stream as events:
                async for event in events:
                    if (chunk := chunks.tell(event)) is not None:
                        yield chunk
            yield chunks.last(stream.run)
        except AgentError as error:
            code = status_of(error)
            yield {"error": {"code": code, "message": str(error), "status": STATUS.get(code, "INTERNAL")}}


async def _drain(stream: AsyncRunStream[Any]) -> Run[Any]:
    async with stream as events:
        return await events.drain()


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Do something as long as the client is there; None if it goes."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, gone):
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def status_of(error: AgentError) -> int:
    """Give the HTTP status of an error."""
    match error:
        case ConfigurationError() | HistoryError():
            return 400
        case TooManyRuns():
            return 429
        case ModelError(code=int(code)):
            return code if code in STATUS and code not in (401, 403) else 503
        case ModelError():
            return 503
    return 500


async def _failed(_: Request, error: Exception) -> Response:
    match error:
        case AgentError():
            return gemini_error(status_of(error), str(error)[:2000])
        case HTTPException(status_code=code):
            return gemini_error(code, error.detail)
    return gemini_error(500, "Internal error.")


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok")


@checked
def create_gemini_app(
    agent: Agent,
    *,
    key: str,
    name: str = "agentkit",
    concurrency: int = 200,
    seconds: float | None = 600.0,
    body_limit: int = 20_000_000,
) -> Starlette:
    """Make a server that clients of the Gemini API use as a model: `generateContent`, streamed too, and `countTokens`.

    The agent's tools run here. Calls that need approval stop the run: the client is told so in words.

    Args:
        agent: Answers.
        key: What clients have to show as their API key.
        name: The model's name, as clients say it.
        concurrency: How many runs may go on at a time; more are answered with 429.
        seconds: How long a run may take, if the agent's limits don't say less.
        body_limit: How large a request may be, in bytes.

    Raises:
        ConfigurationError: The key is empty.
    """
    if not key.strip():
        raise ConfigurationError("create_gemini_app(key=...): give a key that isn't empty.")
    server = GeminiServer(agent, name, concurrency=concurrency, seconds=seconds)
    return Starlette(
        routes=[Route("/healthz", _healthy), Route("/readyz", _healthy), *server.routes()],
        middleware=[
            Middleware(SafeHeaders),
            Middleware(SameOrigin),
            Middleware(
                TokenGate, token=key, hint="API key not valid: show the one that this server was given."
            ),
            Middleware(BodyLimit, limit=body_limit),
        ],
        exception_handlers={AgentError: _failed, HTTPException: _failed, 500: _failed},
    )
