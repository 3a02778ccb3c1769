"""Gemini, through google-genai."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, cast

from agentkit.errors import ConfigurationError
from agentkit.gemini.faults import Faults
from agentkit.gemini.listing import ListedModel, listed
from agentkit.gemini.protocol import Wire, as_taken
from agentkit.gemini.times import Times, times_for
from agentkit.gemini.uploads import Uploads
from agentkit.model import Model, Traits
from agentkit.traits import is_agent, traits_of
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject, Reply, Request
from agentkit.wire.files import LocalFile, UploadedFile

if TYPE_CHECKING:
    from google import genai
    from google.genai import types

DEFAULT_MODEL = "gemini-3.8-flash"
"""The model where none is named."""


class GeminiModel(Model):
    """A Gemini model, on the Gemini API or on Vertex AI.

    Credentials, project and location are found as google-genai finds them: `api_key`, or else GOOGLE_API_KEY, or
    else GEMINI_API_KEY; with GOOGLE_GENAI_USE_VERTEXAI=true (or GOOGLE_GENAI_USE_ENTERPRISE=true),
    GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION and the application default credentials. They are looked up at the
    first request, which also imports google.genai.

    One model serves any number of threads and event loops, at the same time too. Connections are kept open between
    requests. They are closed with the event loop, by `close` and `aclose`, or when the model is garbage-collected.

    Args:
        name: The model's name, such as "gemini-3.8-flash", "models/..." or "tunedModels/...".
        client: A `genai.Client`, used as it is and never closed, with its own API version (the SDK's default is v1),
            proxies and credentials, and with aiohttp if that is installed. Replies pass through the SDK: a stream
            loses what the SDK's parser drops (`finishMessage`, unknown parts), and in sync code a read that
            was given up goes on in a thread. Can't be combined with `api_key` or `http_options`.
        api_key: The API key.
        http_options: google-genai's `HttpOptions`, or a dict of them: `base_url` (also set by
            GOOGLE_GEMINI_BASE_URL), `headers`, `api_version`, `client_args` and `async_client_args` (of httpx2
            clients: transport, proxy, verify and so on), `httpx_client` and `httpx_async_client` (of httpx2; never
            closed), `timeout` (milliseconds, instead of the argument), `extra_body` (top-level fields to set in each
            request, token counts too). `api_version` is v1beta unless it or GOOGLE_GENAI_API_VERSION is set, and the
            SDK's default on Vertex AI. `retry_options` are ignored, because the run retries.
        timeout: Seconds that a whole request may take. None means no limit but the run's, and no deadline for the
            server.
        connect_timeout: Seconds to connect, 10 by default. A `client=` has its own.
        first_byte_timeout: Seconds from sending a request until the reply begins. By default 15 minutes if the model
            thinks at its highest level or the tier is flex, otherwise 5 minutes.
        chunk_timeout: Seconds of silence within a reply, 120 by default.
        upload_over: Bytes. A larger input file is uploaded, and its URI is sent. On Vertex AI, which keeps no files,
            it is an error.

    Raises:
        ConfigurationError: The arguments are invalid or can't be combined.
    """

    @checked
    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        *,
        client: genai.Client | None = None,
        api_key: str | None = None,
        http_options: types.HttpOptions | Mapping[str, Any] | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        first_byte_timeout: float | None = None,
        chunk_timeout: float | None = None,
        upload_over: int = 8_000_000,
    ) -> None:
        if not name.strip():
            raise ConfigurationError(f"GeminiModel({name!r}): give a model's name, e.g. {DEFAULT_MODEL!r}.")
        if is_agent(name.strip()):
            raise ConfigurationError(
                f"GeminiModel({name!r}): this is an agent of the Interactions API alone, which agentkit doesn't speak:"
                f" generateContent has no such model. Give a model, e.g. {DEFAULT_MODEL!r}."
            )
        if client is not None and (api_key is not None or http_options is not None):
            raise ConfigurationError("GeminiModel takes client=, or api_key= and http_options=, not both.")
        self._name = name.strip()
        self._client = client
        self._api_key = api_key
        self._http_options = http_options
        if not upload_over >= 0:
            raise ConfigurationError(f"GeminiModel(upload_over={upload_over!r}): give bytes, 0 or more.")
        self._upload_over = upload_over
        self._uploads = Uploads()
        given = {
            "timeout": _milliseconds(http_options) or timeout,
            "connect_timeout": connect_timeout,
            "first_byte_timeout": first_byte_timeout,
            "chunk_timeout": chunk_timeout,
        }
        for key, value in given.items():
            if value is not None and not value > 0:
                raise ConfigurationError(f"GeminiModel({key}={value!r}): give seconds above 0.")
        self._timeout = given.pop("timeout")
        self._given_times: dict[str, Any] = {
            key.removesuffix("_timeout"): value for key, value in given.items() if value is not None
        }
        self._faults = Faults(self._name)
        self._wire_made: Wire | None = None
        self._traits: Traits | None = None
        """Those at the endpoint of the wire, once that is made: before, variables decide."""
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name, as requests and traces show it."""
        return self._name

    @property
    def traits(self) -> Traits:
        """What the model accepts, from the table in `agentkit.traits`."""
        if self._traits is not None:
            return self._traits
        return self._traits_at(self._client.vertexai if self._client is not None else _vertex_chosen())

    def _traits_at(self, vertex: bool | None) -> Traits:
        return traits_of(self._name, "vertex" if vertex else "gemini", self._upload_over)

    @property
    def uploads_to(self) -> str | None:
        """Where files are uploaded: to the Gemini API, for one key only; not to Vertex AI."""
        if self.traits.endpoint == "vertex":
            return None
        key = next(iter(self._keys()), "")
        return f"gemini/{hashlib.sha256(key.encode()).hexdigest()[:12]}" if key else "gemini"

    def check_credentials(self) -> None:
        """Check that there are credentials to try, without a request and without importing google.genai.

        Whether the server accepts them, or Vertex AI finds its own, is only known at the first request.

        Raises:
            MissingCredentials: There is no API key, and Vertex AI isn't chosen.
            ConfigurationError: The API key contains characters that no key has.
        """
        if self._client is not None:
            return
        keys = self._keys()
        self._faults.hide(keys)
        # A stray line break or quote from a copied key would show up, key and all, deep in the HTTP client.
        if keys and not (keys[0].isascii() and keys[0].isprintable() and " " not in keys[0]):
            raise ConfigurationError(
                "The API key has spaces, line breaks or characters beyond ASCII in it: copy it again."
            )
        if not keys and not _vertex_chosen():
            raise self._faults.missing_credentials()

    def _keys(self) -> Sequence[str]:
        own = getattr(getattr(self._client, "_api_client", None), "api_key", None)
        found = (own, self._api_key, os.environ.get("GOOGLE_API_KEY"), os.environ.get("GEMINI_API_KEY"))
        return [key.strip() for key in found if isinstance(key, str) and key.strip()]

    def upload(
        self, file: LocalFile, *, timeout: float | None = None
    ) -> Generator[int | UploadedFile, None, None]:
        """Upload a file to the Gemini API, once for each content, and wait until it can be used.

        Raises:
            ConfigurationError: Vertex AI keeps no files.
            ModelError: As in `generate`; also if the server can't use the file.
            OSError: The file can't be read.
        """
        wire, at = self._wire(), self.uploads_to
        if wire.vertex or at is None:
            raise ConfigurationError(
                f"The file {file.name!r} has {file.size:,} bytes, and Vertex AI keeps no files: put it into a bucket"
                ' and give {"fileData": {"fileUri": "gs://bucket/name", "mimeType": ...}}, or raise'
                " GeminiModel(upload_over=...)."
            )
        seconds = 3600.0 if timeout is None else timeout
        yield from self._uploads.once(file, at, lambda left: wire.upload(file, left), seconds)

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request with one reply. If the reply may take very long, it is streamed behind the scenes.

        A stream may be longer and shows signs of life; for a short reply it takes more work.

        Raises:
            ModelError: Gemini can't be reached, refused the request or sent a malformed reply.
            MissingCredentials: There are no credentials.
        """
        wire = self._wire()
        body, times = self._prepared(request, timeout)
        if times.slow:
            return super().generate(request, timeout=timeout)
        return self._reply(wire.fetch("generateContent", body, times))

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer a request in chunks. Closing the generator closes the connection at once.

        Raises:
            ModelError: As in `generate`; also when the stream ends without a finish reason.
            MissingCredentials: There are no credentials.
        """
        wire, end = self._wire(), _End()
        body, times = self._prepared(request, timeout)
        with closing(wire.chunks(body, times)) as chunks:
            for chunk in chunks:
                reply = self._reply(chunk)
                end.note(reply)
                yield reply
        if end.missing:
            raise self._faults.truncated()

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, its tools and system instruction included.

        Raises:
            ModelError: As in `generate`.
            MissingCredentials: There are no credentials.
        """
        wire = self._wire()
        body, times = self._prepared(request, timeout)
        return self._count(wire.fetch("countTokens", body, times))

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request, async; raises as `generate` does."""
        wire = await self._awire()
        body, times = self._prepared(request, timeout)
        if times.slow:
            return await super().agenerate(request, timeout=timeout)
        return self._reply(await wire.afetch("generateContent", body, times))

    async def astream(
        self,
        request: Request,
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """Answer a request in chunks, async; raises as `stream` does."""
        wire, end = await self._awire(), _End()
        body, times = self._prepared(request, timeout)
        async with aclosing(wire.achunks(body, times)) as chunks:
            async for chunk in chunks:
                reply = self._reply(chunk)
                end.note(reply)
                yield reply
        if end.missing:
            raise self._faults.truncated()

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, async; raises as `count_tokens` does."""
        wire = await self._awire()
        body, times = self._prepared(request, timeout)
        return self._count(await wire.afetch("countTokens", body, times))

    @classmethod
    @checked
    def list(
        cls,
        *,
        client: genai.Client | None = None,
        api_key: str | None = None,
        http_options: types.HttpOptions | Mapping[str, Any] | None = None,
        timeout: float = 60.0,
    ) -> Sequence[ListedModel]:
        """List the available models of the Gemini API or of Vertex AI, from all pages.

        Args:
            client: As when a model is created; so are the next two.
            api_key: The API key.
            http_options: google-genai's `HttpOptions`.
            timeout: Seconds that it may take in all.

        Raises:
            ModelError: Gemini can't be reached, refused the request or sent no list.
            MissingCredentials: There are no credentials.
        """
        model = cls(client=client, api_key=api_key, http_options=http_options)
        model._faults = Faults("The list of models", is_model=False)
        try:
            return [*listed(model._wire().models(timeout))]
        finally:
            model.close()

    @classmethod
    @checked
    async def alist(
        cls,
        *,
        client: genai.Client | None = None,
        api_key: str | None = None,
        http_options: types.HttpOptions | Mapping[str, Any] | None = None,
        timeout: float = 60.0,
    ) -> Sequence[ListedModel]:
        """List the available models, async; see `list`."""
        return await asyncio.to_thread(
            cls.list, client=client, api_key=api_key, http_options=http_options, timeout=timeout
        )

    def close(self) -> None:
        """Close the connections of sync requests. The model stays usable."""
        if self._wire_made is not None:
            self._wire_made.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and of sync requests. The model stays usable."""
        self.close()
        if self._wire_made is not None:
            await self._wire_made.aclose()

    def _wire(self) -> Wire:
        if (made := self._wire_made) is not None:
            return made
        with self._lock:
            if self._wire_made is None:
                self.check_credentials()
                made = self._make_wire()
                self._traits = self._traits_at(made.vertex)
                self._wire_made = made
            return self._wire_made

    def _make_wire(self) -> Wire:
        # Only here is google.genai imported.
        if self._client is None:
            from agentkit.gemini.http_clients import begin_ssl

            begin_ssl()
            from agentkit.gemini.transport import OwnWire

            return OwnWire(self._name, self._api_key, self._http_options, self._faults)
        from agentkit.gemini.user_client import ClientWire

        return ClientWire(self._name, self._client, self._faults)

    async def _awire(self) -> Wire:
        if self._wire_made is None:
            # The first use imports the SDK, about a second that would hold up the event loop.
            return await asyncio.to_thread(self._wire)
        return self._wire_made

    def _prepared(self, request: Request, timeout: float | None) -> tuple[Request, Times]:
        """Return a request as the model takes it, and how long it may take."""
        traits = self.traits
        limit = self._timeout
        if "httpOptions" in request and "timeout" in (own := request["httpOptions"]):
            limit = own["timeout"] / 1000
        whole = [max(each, 0.001) for each in (limit, timeout) if each is not None]
        times = times_for(traits, request, whole=min(whole, default=None), given=self._given_times)
        return as_taken(request, traits), times

    def _reply(self, body: JsonObject) -> Reply:
        """Tell an error that came with status 200, as an event of a stream does, and what isn't a reply at all.

        Contents and usage are looked at once, by whoever puts the reply together (`ReplyAssembler`).
        """
        if (error := body.get("error")) is not None:
            code = error.get("code") if isinstance(error, dict) else None
            raise self._faults.of_reply(code, body)
        has_others = False
        try:
            for place in (body.get("promptFeedback") or {}, *(body.get("candidates") or ())):
                if place.get("index"):
                    has_others = True
                for key in place.keys() & _TOLD:
                    said = place[key]
                    if said != "STOP" and isinstance(said, (str, list, dict)):  # nearly all say that alone
                        place[key] = self._faults.scrub(said if isinstance(said, str) else repr(said))
        except (AttributeError, TypeError):
            raise self._faults.malformed("a candidate or promptFeedback isn't an object") from None
        if has_others:  # `extra_body` may have asked for them: a run follows the first one
            body["candidates"] = [each for each in body["candidates"] if not each.get("index")]
        return cast(Reply, body)

    def _count(self, body: JsonObject) -> int:
        total = self._reply(body).get("totalTokens")
        if not isinstance(total, int):
            raise self._faults.malformed("there is no totalTokens in it")
        return total


_TOLD = frozenset({"blockReason", "blockReasonMessage", "finishMessage", "finishReason"})
"""What is told in events and errors, and may repeat the request."""


class _End:
    """Whether the end of a streamed reply was seen: of its candidate, or of a prompt that has none."""

    def __init__(self) -> None:
        self._heard = self._begun = self._seen = False

    def note(self, reply: Reply) -> None:
        """Look at a chunk."""
        candidates = reply.get("candidates") or ()
        self._heard, self._begun = True, self._begun or bool(candidates)
        blocked = (reply.get("promptFeedback") or {}).get("blockReason")
        self._seen = self._seen or bool(blocked) or any(each.get("finishReason") for each in candidates)

    @property
    def missing(self) -> bool:
        """Whether the stream was cut off."""
        return not self._seen and (self._begun or not self._heard)


def _vertex_chosen() -> bool:
    """Read the variables that choose Vertex AI, as the SDK does: the first one that is set decides."""
    for variable in ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI"):
        value = os.environ.get(variable)
        if value is not None:
            return value.lower() in ("true", "1")
    return False


def _milliseconds(http_options: types.HttpOptions | Mapping[str, Any] | None) -> float | None:
    """Read the timeout of HTTP options, which is in milliseconds, as seconds."""
    if isinstance(http_options, Mapping):
        timeout = http_options.get("timeout")
    else:
        timeout = getattr(http_options, "timeout", None)
    return timeout / 1000 if timeout and isinstance(timeout, (int, float)) else None
