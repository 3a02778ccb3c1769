"""Requests to Gemini that agentkit sends itself, signed by google-genai.

Importing this module imports google.genai and httpx2, which takes about a second: `model.py` does so on
first use.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import unquote_to_bytes

import httpx2
from google import genai
from google.genai import types
from pydantic import ValidationError

from agentkit.errors import ConfigurationError
from agentkit.gemini.config import config_of, merged, with_config
from agentkit.gemini.faults import Faults, parse_body
from agentkit.gemini.files import Api, FilesApi
from agentkit.gemini.http11 import Head
from agentkit.gemini.links import AsyncReading, ClientLink, Reading, async_link, link
from agentkit.gemini.listing import PAGE_SIZE, models_in
from agentkit.gemini.protocol import SDK_CONFIG, Method, counted, in_tier, server_timeout
from agentkit.gemini.recording import NOTHING, Configs, Recorded, Recorder
from agentkit.gemini.secrets import hide_options
from agentkit.gemini.sse import SSEDecoder
from agentkit.gemini.times import Clock, Times, acalled, called
from agentkit.wire.content import JsonObject, Request, encode_request
from agentkit.wire.files import LocalFile

T = TypeVar("T")

_NO_OPTIONS: Final[JsonObject] = {}


class OwnWire:
    """Asks the SDK where to send a request and how to sign it, and sends it itself.

    The SDK is asked about an empty request, and its HTTP client is a recorder. So the history is never
    validated or converted, only joined from JSON that was made when each content was added; a reply is read
    without loss, and a stream can be closed at once. With an API key, which doesn't expire, the SDK is asked
    once per method; with Vertex tokens each time.
    """

    def __init__(self, name: str, api_key: str | None, options: Any, faults: Faults) -> None:
        self._name = name
        self._faults = faults
        given = _http_options(options)
        self._extra_body = given.extra_body or {}
        self._recorder = Recorder()
        self._recording = httpx2.Client(transport=self._recorder)
        with faults.mapped():
            self._sdk = genai.Client(api_key=api_key, http_options=self._sdk_options(given))
        # Told outright: google-genai 2 doesn't read the variable.
        chosen = given.api_version or os.environ.get("GOOGLE_GENAI_API_VERSION")
        # The default of google-genai 3, v1, lacks the *-latest names and what is in preview; v1beta has all of v1.
        self._version = chosen or (None if self._sdk.vertexai else "v1beta")
        self._configs = Configs(name, self._sdk, self._recorder, self._version, faults)
        self._signed: dict[str, tuple[httpx2.URL, dict[str, str]]] = {}
        self._heads: dict[tuple[Method, str | None], Head] = {}
        self._clients = ClientLink(dict(given.client_args or {}), cast(Any, given.httpx_client))
        self._link = link(self._clients)
        self._async_link = async_link(
            dict(given.async_client_args or {}), cast(Any, given.httpx_async_client)
        )
        hide_options(faults, given)

    @property
    def vertex(self) -> bool:
        """Whether requests go to Vertex AI."""
        return self._sdk.vertexai

    def fetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and return the body of its reply."""
        clock = Clock(times)
        reading = self._open(method, request, clock)
        try:
            return in_tier(self._parse(self._rest(reading, clock)), reading.headers)
        finally:
            reading.close()

    def chunks(self, request: Request, times: Times) -> Generator[JsonObject, None, None]:
        """Send a request and yield the chunks of its reply."""
        clock, decoder = Clock(times), SSEDecoder()
        reading = self._open("streamGenerateContent", request, clock)
        try:
            with self._faults.mapped(clock):
                while (data := reading.read()) is not None:
                    for event in decoder.feed(data):
                        yield in_tier(self._parse(event), reading.headers)
            for chunk in self._last(decoder):
                yield in_tier(chunk, reading.headers)
        finally:
            reading.close()

    async def afetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and return the body of its reply, async."""
        clock = Clock(times)
        reading = await self._aopen(method, request, clock)
        try:
            return in_tier(self._parse(await self._arest(reading, clock)), reading.headers)
        finally:
            await reading.aclose()

    async def achunks(self, request: Request, times: Times) -> AsyncGenerator[JsonObject, None]:
        """Send a request and yield the chunks of its reply, async."""
        clock, decoder = Clock(times), SSEDecoder()
        reading = await self._aopen("streamGenerateContent", request, clock)
        try:
            with self._faults.mapped(clock):
                while (data := await reading.read()) is not None:
                    for event in decoder.feed(data):
                        yield in_tier(self._parse(event), reading.headers)
            for chunk in self._last(decoder):
                yield in_tier(chunk, reading.headers)
        finally:
            await reading.aclose()

    def upload(self, file: LocalFile, seconds: float) -> Generator[int, None, JsonObject]:
        """Upload a file, and wait until it can be used."""
        url, headers = self._sign("files")
        files = url.copy_with(path=url.path.rpartition("/")[0])
        api = FilesApi(self._clients.client(), files, headers, self._faults, time.monotonic() + seconds)
        return (yield from api.upload(file))

    def models(self, seconds: float) -> Iterator[JsonObject]:
        """Go through the models that there are, page by page."""
        deadline = time.monotonic() + seconds
        url, headers = self._asked(lambda: self._sign("models"), Clock.of(seconds))
        api = Api(self._clients.client(), url, headers, self._faults, deadline)
        asked: set[object] = {""}
        while True:
            page = api.get(url)
            yield from models_in(page)
            token = page.get("nextPageToken") or ""
            if token in asked:
                return
            asked.add(token)
            url = url.copy_set_param("pageToken", str(token))

    def close(self) -> None:
        """Close the connections of sync requests; a later request opens new ones."""
        self._link.close()
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later request opens new ones."""
        await self._async_link.aclose()

    def _sdk_options(self, given: types.HttpOptions) -> types.HttpOptions:
        """Leave to the SDK what shapes URL and headers; connections and bodies are ours."""
        return given.model_copy(
            update={
                **self._recorder.options(self._recording),
                "timeout": None,
                "extra_body": None,
                "retry_options": None,
            }
        )

    def _sign(
        self, method: Method | Literal["files", "models"], version: str | None = None
    ) -> tuple[httpx2.URL, dict[str, str]]:
        """Ask the SDK for the URL and the headers of a method. Vertex may fetch a token: this blocks."""
        with self._recorder.lock, self._faults.mapped():
            known = self._signed.get(method)
            if known is not None and version is None:
                return known
            self._record(method, version or self._version)
            recorded = self._recorder.request
            self._faults.hide_headers(recorded.headers)
            self._faults.hide_url(recorded.url)
            ours = self._recording.headers
            headers = {
                key: value
                for key, value in recorded.headers.items()
                if key not in ("host", "content-length") and ours.get(key) != value
            }
            url = recorded.url
            if url.userinfo:  # in a header it does the same, and no log of the HTTP client has it
                headers["authorization"] = f"Basic {b64encode(unquote_to_bytes(url.userinfo)).decode()}"
                self._faults.hide_headers(headers)
                url = url.copy_with(userinfo=b"")
            signed = url, headers
            if "x-goog-api-key" in headers and "authorization" not in headers and version is None:
                self._signed[method] = signed
            return signed

    def _record(self, method: Method | Literal["files", "models"], version: str | None) -> None:
        """Have the SDK send a request that says nothing, to the recorder.

        It is made without validation, for which the SDK would first build its schemas: half the time of it all.
        """
        models = self._sdk.models
        http = types.HttpOptions(api_version=version)
        if method == "files":
            with suppress(Recorded):
                self._sdk.files.get(name="files/x", config=types.GetFileConfig(http_options=http))
            return
        if method == "models":
            with suppress(Recorded):
                models.list(config=types.ListModelsConfig(http_options=http, page_size=PAGE_SIZE))
            return
        asked: dict[str, Any] = {"model": self._name, "contents": NOTHING}
        calling = types.AutomaticFunctionCallingConfig.model_construct(
            **SDK_CONFIG["automatic_function_calling"]
        )
        config = types.GenerateContentConfig.model_construct(
            **{**SDK_CONFIG, "automatic_function_calling": calling}, http_options=http
        )
        with suppress(Recorded):
            if method == "countTokens":
                counting = types.CountTokensConfig.model_construct(http_options=http)
                models.count_tokens(**asked, config=counting)
            elif method == "generateContent":
                models.generate_content(**asked, config=config)
            else:
                list(models.generate_content_stream(**asked, config=config))

    def _asked(self, function: Callable[[], T], clock: Clock) -> T:
        """Have the SDK asked about something: with Vertex AI it may fetch a token first, which takes its time."""
        if not self._sdk.vertexai:
            return function()
        with self._faults.mapped(clock):
            return called(function, clock)

    def _configured(self, request: Request, clock: Clock) -> Request:
        """Write the config in a request as the SDK does, which is asked once about each.

        Raises:
            ConfigurationError: The SDK refuses it.
        """
        fields = config_of(request)
        if not fields:
            return request
        known = self._configs.written(fields) or self._asked(lambda: self._configs.write(fields), clock)
        return with_config(request, known)

    async def _aconfigured(self, request: Request, clock: Clock) -> Request:
        """Do as `_configured`; the SDK is asked in a thread, for the first time it takes long."""
        fields = config_of(request)
        if not fields:
            return request
        known = self._configs.written(fields)
        if known is None:
            with self._faults.mapped(clock):
                known = await acalled(lambda: self._configs.write(fields), clock)
        return with_config(request, known)

    def _encode(self, method: Method, request: Request, options: JsonObject) -> bytes:
        try:
            if "httpOptions" in request:
                request = cast(Request, {key: request[key] for key in request if key != "httpOptions"})  # type: ignore[literal-required]
            request = merged(
                request, options.get("extraBody", self._extra_body) if options else self._extra_body
            )
            if method != "countTokens":
                return encode_request(request)
            request = counted(self._name, request, vertex=self.vertex)
            body = encode_request(request)
            return b'{"generateContentRequest":' + body + b"}" if "model" in request else body
        except (TypeError, ValueError, RecursionError) as exc:
            raise ConfigurationError(f"The request to {self._name} can't be written as JSON: {exc}") from exc

    def _head(
        self, method: Method, signed: tuple[httpx2.URL, dict[str, str]], times: Times, options: JsonObject
    ) -> Head:
        """Make a request's head; where all stays the same, it is looked up."""
        url, headers = signed
        limit = None if times.whole is None else server_timeout(times.whole)
        if limit is not None:
            headers = {"x-server-timeout": limit, **headers}
        if options:
            own: dict[str, str] = options.get("headers", {})
            self._faults.hide_headers(own, passing=True)
            return Head.of(url, {**headers, **own})
        if method not in self._signed:
            return Head.of(url, headers)
        if (key := (method, limit)) not in self._heads:
            self._heads[key] = Head.of(url, headers)
        return self._heads[key]

    def _open(self, method: Method, request: Request, clock: Clock) -> Reading:
        """Send a request and return what begins to come back, once it is known to be a reply."""
        options = request.get("httpOptions", _NO_OPTIONS)
        body = self._encode(method, self._configured(request, clock), options)
        signed = None if options else self._signed.get(method)
        if signed is None:
            signed = self._asked(lambda: self._sign(method, options.get("apiVersion")), clock)
        with self._faults.mapped(clock):
            head = self._head(method, signed, clock.times, options)
            reading = self._link.send(head, body, clock)
        if reading.status == 200:
            return reading
        try:
            error = self._rest(reading, clock)
        finally:
            reading.close()
        raise self._faults.of_reply(reading.status, parse_body(error), reading.headers)

    async def _aopen(self, method: Method, request: Request, clock: Clock) -> AsyncReading:
        """Do the same, async."""
        options = request.get("httpOptions", _NO_OPTIONS)
        body = self._encode(method, await self._aconfigured(request, clock), options)
        signed = None if options else self._signed.get(method)
        if signed is None:
            with self._faults.mapped(clock):
                signed = await acalled(lambda: self._sign(method, options.get("apiVersion")), clock)
        with self._faults.mapped(clock):
            head = self._head(method, signed, clock.times, options)
            reading = await self._async_link.send(head, body, clock)
        if reading.status == 200:
            return reading
        try:
            error = await self._arest(reading, clock)
        finally:
            await reading.aclose()
        raise self._faults.of_reply(reading.status, parse_body(error), reading.headers)

    def _rest(self, reading: Reading, clock: Clock) -> bytes:
        with self._faults.mapped(clock):
            return b"".join(iter(reading.read, None))

    async def _arest(self, reading: AsyncReading, clock: Clock) -> bytes:
        pieces: list[bytes] = []
        with self._faults.mapped(clock):
            while (data := await reading.read()) is not None:
                pieces.append(data)
        return b"".join(pieces)

    def _parse(self, text: str | bytes) -> JsonObject:
        reply: Any = None
        wrong = ""
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError) as exc:
            wrong = str(exc)  # the exception itself holds all of the text
        if wrong:
            raise self._faults.malformed(f"not JSON ({wrong})")
        if not isinstance(reply, dict):
            raise self._faults.malformed("not a JSON object")
        return reply

    def _last(self, decoder: SSEDecoder) -> list[JsonObject]:
        """Read what the end of the stream completes; a body that isn't a stream may be an error in JSON."""
        chunks = [self._parse(event) for event in decoder.end()]
        if not chunks and decoder.stray:
            body = parse_body(b"\n".join(decoder.stray))
            bodies = body if isinstance(body, list) else [body]
            chunks = [chunk for chunk in bodies if isinstance(chunk, dict)]
            if not chunks:
                raise self._faults.malformed("not a stream of events")
        return chunks


def _http_options(options: Any) -> types.HttpOptions:
    wrong = ""
    try:
        given = types.HttpOptions.model_validate(
            options if isinstance(options, types.HttpOptions) else dict(options or {})
        )
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (TypeError, ValueError) as exc:
        wrong = type(exc).__name__
    if wrong:  # what was given may hold secrets, and so may the exception
        raise ConfigurationError(f"GeminiModel(http_options=...) isn't valid: {wrong}.")
    if given.aiohttp_client is not None:
        raise ConfigurationError("GeminiModel doesn't use aiohttp: give httpx_async_client, or client=.")
    return given
