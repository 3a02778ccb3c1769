"""Requests to Gemini through a `genai.Client` of the user's."""

from __future__ import annotations

import asyncio
import json
import math
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import closing
from typing import Any, cast

from google import genai
from google.genai import types

from agentkit.gemini.config import beside_config, checked, config_of, merged, secrets_in, with_config
from agentkit.gemini.faults import Faults
from agentkit.gemini.files import wait_for
from agentkit.gemini.listing import PAGE_SIZE
from agentkit.gemini.protocol import (
    SDK_CONFIG,
    SHORTEST_SERVER_TIMEOUT,
    Method,
    counted,
    in_tier,
    server_timeout,
)
from agentkit.gemini.recording import Configs
from agentkit.gemini.secrets import hide_options
from agentkit.gemini.times import Clock, Pull, Times
from agentkit.wire.content import JsonObject, Request, dumps
from agentkit.wire.convert import camel
from agentkit.wire.files import LocalFile


class ClientWire:
    """Sends requests through a `genai.Client` of the user's, which stays as it is.

    The body goes in `HttpOptions.extra_body`, so the SDK doesn't convert the history. A stream's chunks are
    parsed by the SDK, which drops `finishMessage` and kinds of parts that it doesn't know.
    """

    def __init__(self, name: str, client: genai.Client, faults: Faults) -> None:
        self._name = name
        self._client = client
        self._faults = faults
        self._known: set[bytes] = set()
        """Configs that were checked."""
        self._configs: Configs | None = None
        """Of requests whose tokens are counted: the SDK writes none into those."""
        # The SDK shows the key nowhere in public, but a server may repeat it in an error.
        inner = getattr(client, "_api_client", None)
        options = getattr(inner, "_http_options", None)
        faults.hide([getattr(inner, "api_key", None)])
        hide_options(faults, options)
        extra: JsonObject = getattr(options, "extra_body", None) or {}
        self._extra_body = {camel(name): value for name, value in extra.items()}
        """The client's, which a request's own would take the place of."""

    @property
    def vertex(self) -> bool:
        """Whether requests go to Vertex AI."""
        return self._client.vertexai

    def fetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and return the body of its reply."""
        clock, models = Clock(times), self._client.models
        ask = self._ask(method, request, times)

        def asked() -> Iterator[Any]:
            yield models.count_tokens(**ask) if method == "countTokens" else models.generate_content(**ask)

        clock.send()
        (reply,) = self._pulled(asked, clock)
        with self._faults.mapped(clock):
            return self._body(method, reply)

    def chunks(self, request: Request, times: Times) -> Generator[JsonObject, None, None]:
        """Send a request and yield the chunks of its reply.

        The SDK has one time for each read, and a read can't be broken off: a thread reads, and is waited for.
        """
        clock = Clock(times)
        ask = self._ask("streamGenerateContent", request, times)
        clock.send()
        pulled = self._pulled(lambda: self._client.models.generate_content_stream(**ask), clock)
        with closing(pulled):
            for chunk in pulled:
                clock.hear()
                yield in_tier(to_wire(chunk), chunk.sdk_http_response and chunk.sdk_http_response.headers)

    async def afetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and return the body of its reply, async."""
        clock, models = Clock(times), self._client.aio.models
        if method == "countTokens":  # what it takes to write a config would hold up the event loop
            ask = await asyncio.to_thread(self._ask, method, request, times)
        else:
            ask = self._ask(method, request, times)
        clock.send()
        with self._faults.mapped(clock):
            async with asyncio.timeout(clock.left_or_none()):
                if method == "countTokens":
                    return self._body(method, await models.count_tokens(**ask))
                return self._body(method, await models.generate_content(**ask))

    async def achunks(self, request: Request, times: Times) -> AsyncGenerator[JsonObject, None]:
        """Send a request and yield the chunks of its reply, async."""
        clock = Clock(times)
        ask = self._ask("streamGenerateContent", request, times)
        clock.send()
        with self._faults.mapped(clock):
            async with asyncio.timeout(clock.left_or_none()):
                begun: Any = await self._client.aio.models.generate_content_stream(**ask)
        stream = cast("AsyncGenerator[types.GenerateContentResponse, None]", begun)
        try:
            while True:
                with self._faults.mapped(clock):
                    async with asyncio.timeout(clock.left_or_none()):
                        chunk = await anext(stream, None)
                if chunk is None:
                    return
                clock.hear()
                yield in_tier(to_wire(chunk), chunk.sdk_http_response and chunk.sdk_http_response.headers)
        finally:
            await _stop(stream)

    def upload(self, file: LocalFile, seconds: float) -> Generator[int, None, JsonObject]:
        """Upload a file by the SDK, which says nothing on its way, and wait until it can be used."""
        deadline, clock = time.monotonic() + seconds, Clock.of(seconds)
        yield 0

        def sent() -> Iterator[types.File]:
            about: Any = {"mime_type": file.mime_type, "display_name": file.name}
            with file.open() as data:
                yield self._client.files.upload(file=data, config=about)

        def look(name: str) -> JsonObject:
            (seen,) = self._pulled(lambda: iter((self._client.files.get(name=name),)), clock)
            return _told(seen)

        (found,) = self._pulled(sent, clock)
        return (yield from wait_for(_told(found), file, look, deadline))

    def _pulled(self, make: Callable[[], Iterator[Any]], clock: Clock) -> Generator[Any, None, None]:
        """Go through what the SDK gives, and wait for it no longer than a clock says."""
        pull = Pull(make)
        try:
            while True:
                with self._faults.mapped(clock):
                    item = pull.next(clock)
                if item is None:
                    return
                yield item
        finally:
            pull.close()

    def models(self, seconds: float) -> Iterator[JsonObject]:
        """Go through the models that there are, by the SDK."""
        config: Any = {"page_size": PAGE_SIZE, "http_options": {"timeout": math.ceil(seconds * 1000)}}
        pulled = self._pulled(lambda: iter(self._client.models.list(config=config)), Clock.of(seconds))
        with closing(pulled):
            for model in pulled:
                yield model.model_dump(mode="json", by_alias=True, exclude_none=True)

    def close(self) -> None:
        """Do nothing: the client is the user's."""

    async def aclose(self) -> None:
        """Do nothing: the client is the user's."""

    def _ask(self, method: Method, request: Request, times: Times) -> dict[str, Any]:
        fields = self._checked(config_of(request))
        body: JsonObject = beside_config(request)
        config: dict[str, Any] = {}
        own: JsonObject = request.get("httpOptions") or {}
        extra = self._extra_body
        if "extraBody" in own:
            extra = {camel(name): value for name, value in own["extraBody"].items()}
        if method == "countTokens":
            if fields:
                self._configs = self._configs or Configs.like(self._name, self._client, self._faults)
                request = with_config(request, self._configs.write(fields))
            request = merged(request, extra)
            body = {**counted(self._name, request, vertex=self.vertex)}
            body.pop("httpOptions", None)
            if "model" in body:
                # The SDK's own contents, ".", would exclude the other field; empty ones are none.
                body = {"contents": [], "generateContentRequest": body}
        else:
            config = {**fields, **SDK_CONFIG}
            body = {**merged(cast(Request, body), extra)}
            if method == "generateContent":
                config["should_return_http_response"] = True
        # The SDK takes lists, and says so in its log where it gets something like one.
        body = {
            key: list(value) if isinstance(value, (list, tuple)) else value for key, value in body.items()
        }
        http: dict[str, Any] = {"extra_body": body, "retry_options": {"attempts": 1}}
        if "apiVersion" in own:
            http["api_version"] = own["apiVersion"]
        self._faults.hide_headers(headers := {**own.get("headers", {})}, passing=True)
        if (
            times.whole is not None
        ):  # else the SDK's, which aiohttp takes for that of the whole, would cut a long reply
            http["timeout"] = math.ceil(times.whole * 1000)
            if times.whole < SHORTEST_SERVER_TIMEOUT:
                headers.setdefault("X-Server-Timeout", server_timeout(times.whole))
        if headers:
            http["headers"] = headers
        return {"model": self._name, "contents": ".", "config": {**config, "http_options": http}}

    def _checked(self, fields: JsonObject) -> JsonObject:
        """Return the fields of a config, which the SDK writes as it does, checked once."""
        if fields:
            key = dumps(fields)
            if key not in self._known:
                for headers in secrets_in(fields):
                    self._faults.hide_headers(headers)
                checked(fields)
                self._known.add(key)
        return fields

    def _body(self, method: Method, reply: Any) -> JsonObject:
        if method == "countTokens":
            return {"totalTokens": reply.total_tokens}
        body = json.loads((reply.sdk_http_response and reply.sdk_http_response.body) or "null")
        if not isinstance(body, dict):
            raise self._faults.malformed("not a JSON object")
        return in_tier(body, reply.sdk_http_response.headers)


def to_wire(chunk: types.GenerateContentResponse) -> JsonObject:
    """Turn a parsed chunk back into wire JSON: camelCase, no nulls, bytes in standard base64."""
    dumped = chunk.model_dump(
        by_alias=True,
        exclude_none=True,
        exclude={"sdk_http_response", "automatic_function_calling_history", "parsed"},
    )
    return cast(JsonObject, json.loads(json.dumps(dumped, default=_plain)))


def _told(file: types.File) -> JsonObject:
    return file.model_dump(mode="json", by_alias=True, exclude_none=True)


def _plain(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else value.isoformat()


async def _stop(stream: AsyncGenerator[Any, None]) -> None:
    """Close a stream of the SDK's and its connection.

    `aclose` on it would leave the response to the garbage collector. Cancelling a read that is under way
    passes through every layer of the SDK, and the innermost one closes the response. What was already
    received comes first: those reads end by themselves.
    """
    ended = False
    while not ended:
        read = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        read.cancel()
        await asyncio.wait([read])
        ended = read.cancelled() or read.exception() is not None or read.result() is None
