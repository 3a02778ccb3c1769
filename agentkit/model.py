"""What a model is: whatever answers wire JSON with wire JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol, runtime_checkable

from agentkit.wire.content import Reply, Request


@runtime_checkable
class Model(Protocol):
    """A model: Gemini, the embedded one, a scripted one, or yours.

    Every method takes a request body and `timeout`, and raises `ModelError` when there is no proper reply;
    `retryable` in it says whether the same request may succeed later. The whole of it takes at most `timeout`
    seconds (what is left of the run), and at most the model's own default, which alone holds for None. A
    model never retries by itself: the loop does, so that retries are counted, bounded and seen. A model
    leaves the request as it is.

    `stream` yields chunks, each of them a `Reply`; the last one has a `finishReason`, and a stream that ends
    without one is a `ModelError`. Closing the generator closes the connection at once. A subclass of another
    model may leave methods to it; a model for only sync or only async use may raise in the others.
    """

    @property
    def name(self) -> str:
        """The model's name, as requests and traces show it."""
        ...

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request."""
        ...

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer a request in chunks."""
        ...

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, its tools and system instruction included."""
        ...

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request, async."""
        ...

    def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Answer a request in chunks, async."""
        ...

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, async."""
        ...
