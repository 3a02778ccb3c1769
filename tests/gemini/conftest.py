"""Fixtures of the models' tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
from google import genai
from google.genai import types

from agentkit.gemini.model import DEFAULT_MODEL, GeminiModel
from tests.helpers.gemini import (
    KEY,
    NO_TLS,
    Make,
)
from tests.helpers.gemini_server import GeminiServer


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("SSL_CERT") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as running:
        yield running


@pytest.fixture(params=["own client", "user's client"])
def make(request: pytest.FixtureRequest, server: GeminiServer) -> Iterator[Make]:
    """Make a model on the server, by either of the two ways."""
    clients: list[genai.Client] = []

    def model(name: str = DEFAULT_MODEL, **options: Any) -> GeminiModel:
        http: dict[str, Any] = {"base_url": server.url}
        if request.param == "own client":
            return GeminiModel(name, api_key=KEY, http_options=http, **options)
        # A connection kept alive would outlive its loop, and only the client's owner can close it.
        http |= {"api_version": "v1beta", "headers": {"Connection": "close"}}
        http |= {"client_args": {"verify": NO_TLS}, "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS}}
        clients.append(genai.Client(api_key=KEY, http_options=cast(types.HttpOptionsDict, http)))
        return GeminiModel(name, client=clients[-1], **options)

    yield model
    for client in clients:
        client.close()
