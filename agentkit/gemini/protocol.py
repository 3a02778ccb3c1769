"""What both ways to Gemini share: their protocol, and what goes on the wire."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any, Literal, Protocol, cast

from agentkit.gemini.times import Times
from agentkit.model import Traits
from agentkit.wire.content import JsonObject, Request, iter_declarations
from agentkit.wire.files import LocalFile

Method = Literal["generateContent", "streamGenerateContent", "countTokens"]

SDK_CONFIG: dict[str, Any] = {
    "automatic_function_calling": {"disable": True},
    "automatic_continuation": False,
}
"""Every request is the run's own: the SDK neither calls functions nor asks again."""

SHORTEST_SERVER_TIMEOUT = 10
"""Seconds. Gemini refuses a shorter deadline: "Manually set deadline 5s is too short"."""

# Tools that the caller runs. All other kinds run at the server.
_CALLERS_TOOLS = frozenset({"functionDeclarations", "function_declarations", "computerUse", "computer_use"})
_IN_CACHES = frozenset({"systemInstruction", "tools", "toolConfig"})
CALLING = frozenset({"functionCallingConfig", "function_calling_config"})
SHOWN = frozenset({"includeServerSideToolInvocations", "include_server_side_tool_invocations"})


class Wire(Protocol):
    """A way to Gemini. `times` are what a request may take."""

    @property
    def vertex(self) -> bool:
        """Whether it leads to Vertex AI."""
        ...

    def fetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and read its reply."""
        ...

    def chunks(self, request: Request, times: Times) -> Generator[JsonObject, None, None]:
        """Send a request and read its reply in chunks; closing the generator closes the connection."""
        ...

    async def afetch(self, method: Method, request: Request, times: Times) -> JsonObject:
        """Send a request and read its reply, async."""
        ...

    def achunks(self, request: Request, times: Times) -> AsyncGenerator[JsonObject, None]:
        """Send a request and read its reply in chunks, async."""
        ...

    def upload(self, file: LocalFile, seconds: float) -> Generator[int, None, JsonObject]:
        """Upload a file; yield how many bytes have arrived, and return what the server says of it."""
        ...

    def models(self, seconds: float) -> Iterator[JsonObject]:
        """Go through the models that there are."""
        ...

    def close(self) -> None:
        """Close what sync requests left open."""
        ...

    async def aclose(self) -> None:
        """Close what requests of this event loop left open."""
        ...


def counted(name: str, request: Request, *, vertex: bool) -> Request:
    """Say what `countTokens` counts; with a `model` in it, it goes into `generateContentRequest`.

    The Gemini API takes bare contents, or a whole request with the model's full name; Vertex AI takes some
    of the fields.
    """
    if vertex:
        fields = ("contents", "systemInstruction", "tools", "generationConfig")
        return cast(Request, {key: request[key] for key in fields if key in request})  # type: ignore[literal-required]
    if request.keys() == {"contents"}:
        return request
    return cast(Request, {"model": name if "/" in name else f"models/{name}", **request})


def server_timeout(seconds: float) -> str:
    """Say in a header, X-Server-Timeout, how long the server may take."""
    return str(max(SHORTEST_SERVER_TIMEOUT, math.ceil(seconds)))


def as_taken(request: Request, traits: Traits) -> Request:
    """Return a request as the server takes it; the one given stays as it is.

    - With `cachedContent` go no instruction, tools and tool config: they are in the cache (rule 12).
    - `functionCallingConfig` goes where a function is declared, and nowhere else (rule 14).
    - The server's own tools beside functions are asked to show their calls: the Gemini API refuses the mix
      otherwise, and Vertex AI doesn't know the field (rule 5).
    """
    if request.get("cachedContent"):
        return cast(Request, {key: value for key, value in request.items() if key not in _IN_CACHES})
    config = request.get("toolConfig") or {}
    if next(iter_declarations(request), None) is None:
        if not config.keys() & CALLING:
            return request
        rest = {key: value for key, value in config.items() if key not in CALLING}
        others = {key: value for key, value in request.items() if key != "toolConfig"}
        return cast(Request, {**others, "toolConfig": rest} if rest else others)
    kinds: set[str] = set().union(*(request.get("tools") or ()))
    if traits.endpoint == "vertex" or kinds <= _CALLERS_TOOLS or config.keys() & SHOWN:
        return request
    return {**request, "toolConfig": {**config, "includeServerSideToolInvocations": True}}


def in_tier(body: JsonObject, headers: Any) -> JsonObject:
    """Note beside the usage in which service tier a reply was made, as its header says: prices depend on it."""
    tier, usage = headers.get("x-gemini-service-tier") if headers else None, body.get("usageMetadata")
    if tier and isinstance(usage, dict):
        usage["serviceTier"] = str(tier)
    return body
