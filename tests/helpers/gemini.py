"""What the tests of GeminiModel share: ways to ask it, and transports that answer in the process."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from agentkit.gemini.model import GeminiModel
from agentkit.wire.content import Reply, Request, call_part, keep, response_part, user_content
from agentkit.wire.convert import to_wire

KEY = "test-key-0123456789"
HELLO: Request = {"contents": [user_content("Hello")]}
STOCK = {
    "name": "stock",
    "parametersJsonSchema": {"type": "object", "properties": {"sku": {"type": "string"}}},
}

NO_TLS = ssl.SSLContext(
    ssl.PROTOCOL_TLS_CLIENT
)  # the SDK would make two of them, with certificates, each time

Make = Callable[..., GeminiModel]
GetReply = Callable[[GeminiModel, Request], list[Reply]]


def generate(model: GeminiModel, request: Request) -> list[Reply]:
    return [model.generate(request)]


def stream_it(model: GeminiModel, request: Request) -> list[Reply]:
    return list(model.stream(request))


def agenerate(model: GeminiModel, request: Request) -> list[Reply]:
    return [asyncio.run(model.agenerate(request))]


def astream_it(model: GeminiModel, request: Request) -> list[Reply]:
    async def work() -> list[Reply]:
        return [chunk async for chunk in model.astream(request)]

    return asyncio.run(work())


every_method = pytest.mark.parametrize("ask", [generate, stream_it, agenerate, astream_it])


def text_in(replies: list[Reply]) -> str:
    parts = [part for r in replies for c in r["candidates"] for part in c.get("content", {}).get("parts", [])]
    return "".join(part.get("text", "") for part in parts)


def full_request() -> Request:
    asked = call_part("stock", {"sku": "TEA-1"})
    return {
        "contents": [
            keep(user_content("How many?")),
            keep({"role": "model", "parts": [asked]}),
            keep(user_content(response_part(asked["functionCall"], {"output": 3}))),
        ],
        "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [STOCK]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"temperature": 0.5, "thinkingConfig": {"includeThoughts": True}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }


def in_camel_case(body: dict[str, Any]) -> dict[str, Any]:
    """Read the config in a request, which the SDK writes in either casing."""
    return {**body, "generationConfig": to_wire(body["generationConfig"])}


class InProcess(httpx2.BaseTransport):
    """A transport that answers in the process and keeps what it was asked."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self._answer = answer
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        return self._answer(request)


class AsyncInProcess(httpx2.AsyncBaseTransport):
    """The same, async."""

    def __init__(self, inner: InProcess) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.inner.handle_request(request)


def answer_ok(request: httpx2.Request) -> httpx2.Response:
    if request.url.path.endswith(":countTokens"):
        return httpx2.Response(200, json={"totalTokens": 7})
    body = {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}
    if "alt=sse" in str(request.url):
        return httpx2.Response(200, content=b"data: " + json.dumps(body).encode())
    return httpx2.Response(200, json=body)
