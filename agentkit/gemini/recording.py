"""google-genai, asked what it would send: its HTTP client is a recorder, and nothing is sent.

Importing this module imports google.genai and httpx2.
"""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import suppress
from typing import Any, Final

import httpx2
from google import genai
from google.genai import types

from agentkit.errors import ConfigurationError
from agentkit.gemini.config import checked, secrets_in
from agentkit.gemini.faults import Faults
from agentkit.wire.content import JsonObject, dumps

NOTHING: Final = types.Content.model_construct(parts=[types.Part.model_construct(text=".")])
_MOST_CONFIGS: Final = 100
"""So many configs are kept as the SDK writes them; an agent has a few."""


class Recorded(BaseException):
    """A request was recorded: nothing comes of it, and the SDK need not look for a reply."""


class Recorder(httpx2.BaseTransport):
    """Keeps the last request; who has the SDK make one holds the `lock` until it is read."""

    request: httpx2.Request

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Keep a request instead of sending it."""
        self.request = request
        raise Recorded

    def options(self, client: httpx2.Client) -> dict[str, Any]:
        """Return the HTTP options with which the SDK sends through `client`, which this records, and makes no other."""
        return {
            "httpx_client": client,
            # Never used. It keeps the SDK from making one with an SSL context of its own, or from
            # taking aiohttp; so does "ssl" for the websockets that nobody opens here.
            "httpx_async_client": httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport()),
            "async_client_args": {"ssl": True},
            "client_args": {"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},  # google-genai 2 makes one
        }


class Configs:
    """The configs of requests as the SDK writes them; it is asked once about each."""

    def __init__(
        self, name: str, sdk: genai.Client, recorder: Recorder, version: str | None, faults: Faults
    ) -> None:
        self._name, self._sdk, self._recorder = name, sdk, recorder
        self._version, self._faults = version, faults
        self._known: dict[bytes, JsonObject] = {}

    @classmethod
    def like(cls, name: str, client: genai.Client, faults: Faults) -> Configs:
        """Write as a client of the user's does, which itself is asked nothing."""
        recorder = Recorder()
        options = types.HttpOptions(**recorder.options(httpx2.Client(transport=recorder)))
        sdk = genai.Client(vertexai=client.vertexai, api_key="-", http_options=options)
        return cls(name, sdk, recorder, None, faults)

    def written(self, fields: JsonObject) -> JsonObject | None:
        """Return what the SDK made of these fields, if it was asked about them."""
        return self._known.get(self._dumps(fields))

    def write(self, fields: JsonObject) -> JsonObject:
        """Write fields of a `types.GenerateContentConfig` as those of a request.

        Raises:
            ConfigurationError: The SDK refuses them.
        """
        key = self._dumps(fields)
        if key not in self._known:
            with self._recorder.lock, self._faults.mapped():
                for headers in secrets_in(fields):
                    self._faults.hide_headers(headers)
                config = checked(fields)
                config.http_options = types.HttpOptions(api_version=self._version)
                config.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
                with suppress(Recorded):
                    self._sdk.models.generate_content(model=self._name, contents=NOTHING, config=config)
                sent = json.loads(self._recorder.request.content)
                if len(self._known) >= _MOST_CONFIGS:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = {name: value for name, value in sent.items() if name != "contents"}
        return self._known[key]

    def _dumps(self, fields: JsonObject) -> bytes:
        try:
            return dumps(fields)
        except (TypeError, ValueError, RecursionError) as exc:
            raise ConfigurationError(f"The config for {self._name} can't be written as JSON: {exc}") from exc
