"""A model that answers from a script: for tests, and to try things out without a model."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import Any, cast

from agentkit.errors import ModelError
from agentkit.model import Model
from agentkit.wire.arguments import checked
from agentkit.wire.content import (
    Content,
    Part,
    Reply,
    Request,
    call_part,
    content_json,
    encode_request,
    model_content,
)

Script = Callable[[Request], Any] | Any
"""One reply: a str; a part or a list of parts and strs; a content; a whole `Reply`; an exception, which is
raised; or a function of the request that returns one of those."""


@checked
def call(name: str, /, **args: Any) -> Part:
    """Make a part that calls a function, for a script: `call("weather", city="Paris")`."""
    return call_part(name, args)


@checked
def reply(*parts: str | Part, finish_reason: str = "STOP", **usage: int) -> Reply:
    """Make a whole reply, for a script.

    Args:
        parts: Texts and parts.
        finish_reason: The server's word for how it ended.
        usage: Fields of `usageMetadata`; without any, tokens are estimated.
    """
    made = _reply_of(parts, finish_reason)
    if usage:
        made["usageMetadata"] = cast(Any, usage)
    return made


def _reply_of(parts: Iterable[str | Part], finish_reason: str = "STOP") -> Reply:
    return {"candidates": [{"content": model_content(*parts), "finishReason": finish_reason}]}


@checked
def fault(code: int, message: str = "a scripted fault", *, retry_after: float | None = None) -> ModelError:
    """Make a model's failure, for a script: of an HTTP status, retryable as `GeminiModel` has it."""
    retryable = code in (408, 429) or code >= 500
    return ModelError(message, code=code, retryable=retryable, retry_after=retry_after)


class ScriptedModel(Model):
    """A `Model` that gives the replies of a script, one for each request, and records the requests."""

    @checked
    def __init__(self, script: Iterable[Script], *, name: str = "scripted") -> None:
        self._script = list(script)
        self._name = name
        self._lock = threading.Lock()
        self._bodies: list[bytes] = []
        self._requests: list[Request] = []
        """Those of the bodies that were looked at."""

    @property
    def requests(self) -> list[Request]:
        """The requests so far, as they were sent."""
        with self._lock:
            self._requests += map(json.loads, self._bodies[len(self._requests) :])
        return self._requests

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    def assert_complete(self) -> None:
        """Raise an AssertionError if replies are left."""
        left = len(self._script) - len(self._bodies)
        if left > 0:
            raise AssertionError(f"{left} of {len(self._script)} scripted replies were not asked for.")

    def _next(self, request: Request) -> Reply:
        with self._lock:
            index = len(self._bodies)
            if index >= len(self._script):
                raise AssertionError(
                    f"Request {index + 1}, but the script has only {len(self._script)} replies."
                )
            self._bodies.append(encode_request(request))
        return _reply(self._script[index], request)

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Give the next reply."""
        return self._next(request)

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Give the next reply, its texts word by word."""
        yield from chunks_of(self._next(request))

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Estimate the tokens: a quarter of the bytes."""
        return len(encode_request(request)) // 4

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Give the next reply, async."""
        return self._next(request)

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Give the next reply, its texts word by word, async."""
        for chunk in chunks_of(self._next(request)):
            yield chunk

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Estimate the tokens, async."""
        return self.count_tokens(request, timeout=timeout)


def _reply(script: Script, request: Request) -> Reply:
    if callable(script):
        script = cast(Callable[[Request], Any], script)(request)
    if isinstance(script, BaseException):
        raise script
    made = _whole(script)
    if "usageMetadata" not in made:
        prompt = len(encode_request(request)) // 4
        candidates = (
            sum(len(content_json(c["content"])) for c in made.get("candidates", ()) if "content" in c) // 4
        )
        made["usageMetadata"] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates,
            "agentkitEstimated": True,
        }
    return made


def _whole(script: Script) -> Reply:
    if isinstance(script, str):
        return _reply_of([script])
    if isinstance(script, (list, tuple)):
        return _reply_of(copy.deepcopy(script))
    if isinstance(script, Mapping):
        made = copy.deepcopy(dict(script))
        if "candidates" in made or "promptFeedback" in made:
            return cast(Reply, made)
        if "parts" in made:
            return _reply_of(cast(Content, made)["parts"])
        return _reply_of([cast(Part, made)])
    raise TypeError(f"{type(script).__name__} isn't a scripted reply; see agentkit.testing.ScriptedModel.")


def chunks_of(whole: Reply) -> Generator[Reply, None, None]:
    """Cut a reply as the server does: words apart, signed parts whole, the end with the usage."""
    candidates = whole.get("candidates") or []
    if not candidates:
        yield whole
        return
    for part in (candidates[0].get("content") or model_content())["parts"]:
        text = part.get("text")
        if not text or "thoughtSignature" in part:
            yield {"candidates": [{"content": model_content(part), "index": 0}]}
            continue
        for word in text.replace(" ", " \0").split("\0"):
            piece = cast(Part, {**part, "text": word})
            yield {"candidates": [{"content": model_content(piece), "index": 0}]}
    rest = {**candidates[0], "content": model_content({"text": ""})}
    yield cast(Reply, {**whole, "candidates": [rest]})
