"""How requests to Gemini are sent: on connections of our own, or through clients of httpx2 as the user wants them."""

from __future__ import annotations

import asyncio
import ssl
import threading
import weakref
from collections.abc import Generator, Mapping
from typing import Any, Protocol, cast
from urllib.request import getproxies

import httpx2

from agentkit.gemini.connections import AsyncConnections, Connections
from agentkit.gemini.http11 import Head
from agentkit.gemini.http_clients import PerLoop, complete_args
from agentkit.gemini.times import Clock, Pull


class Reading(Protocol):
    """What comes back of a request."""

    status: int
    headers: Mapping[str, str]

    def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


class AsyncReading(Protocol):
    """The same, async."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        ...

    async def aclose(self) -> None:
        """Read no more."""
        ...


class Link(Protocol):
    """A way to send requests."""

    def send(self, head: Head, body: bytes, clock: Clock) -> Reading:
        """Send a request; return what begins to come back. Raises what the HTTP client does."""
        ...

    def close(self) -> None:
        """Close the connections that are ours; a later request opens new ones."""
        ...


class AsyncLink(Protocol):
    """The same, async."""

    async def send(self, head: Head, body: bytes, clock: Clock) -> AsyncReading:
        """Send a request; return what begins to come back. Raises what the HTTP client does."""
        ...

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later request opens new ones."""
        ...


def link(clients: ClientLink) -> Link:
    """Choose how sync requests are sent: by these, if the user's arguments or client ask for that."""
    if (context := _own_context(clients.args, clients.given)) is None:
        return clients
    connections = Connections(context)
    weakref.finalize(connections, Connections.close_all, connections.idle)
    return connections


def async_link(args: dict[str, Any], given: httpx2.AsyncClient | None) -> AsyncLink:
    """Choose how async requests are sent."""
    if (context := _own_context(args, given)) is None:
        return _AsyncClientLink(args, given)
    return _OwnAsyncLink(context)


def _own_context(args: Mapping[str, Any], given: object) -> ssl.SSLContext | None:
    """Return the SSL context for connections of our own; None where the user, or a proxy, asks for more than that."""
    if given is not None or not args.keys() <= {"verify", "ssl"} or getproxies().keys() - {"no"}:
        return None
    context = complete_args(args)["verify"]
    return context if isinstance(context, ssl.SSLContext) else None


class _OwnAsyncLink:
    def __init__(self, context: ssl.SSLContext) -> None:
        self._loops = PerLoop(lambda: AsyncConnections(context))

    async def send(self, head: Head, body: bytes, clock: Clock) -> AsyncReading:
        return await (await self._loops.get()).send(head, body, clock)

    async def aclose(self) -> None:
        await self._loops.aclose()


class ClientLink:
    """Sends through a client of httpx2, which is made at the first request unless it is the user's."""

    def __init__(self, args: dict[str, Any], given: httpx2.Client | None) -> None:
        self.args = args
        self.given = given
        self._made: httpx2.Client | None = None
        self._lock = threading.Lock()

    def send(self, head: Head, body: bytes, clock: Clock) -> Reading:
        """Send a request; return what begins to come back."""
        return _Pulled(self.client(), head, body, clock)

    def close(self) -> None:
        """Close the client, if it isn't the user's."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.close()

    def client(self) -> httpx2.Client:
        """Return the client."""
        if self.given is not None:
            return self.given
        with self._lock:
            if self._made is None:
                self._made = httpx2.Client(**complete_args(self.args))
                weakref.finalize(self, self._made.close)
            return self._made


class _Pulled:
    """What a client of httpx2 reads; it knows of one time for each read, so a thread reads and is waited for."""

    def __init__(self, client: httpx2.Client, head: Head, body: bytes, clock: Clock) -> None:
        clock.send()
        times, whole = clock.times, clock.left()
        longest = httpx2.Timeout(
            min(max(times.first_byte, times.chunk), times.whole or whole), connect=times.connect
        )
        request = client.build_request("POST", head.url, content=body, headers=head.given, timeout=longest)
        self._clock = clock
        self._pull: Pull[Any] = Pull(lambda: _sent(client, request))
        try:
            began: Any = self._pull.next(clock)
            self.status, self.headers = began
        except BaseException:
            self._pull.close()
            raise

    def read(self) -> bytes | None:
        data = cast("bytes | None", self._pull.next(self._clock))
        self._clock.hear()
        return data

    def close(self) -> None:
        self._pull.close()


def _sent(client: httpx2.Client, request: httpx2.Request) -> Generator[Any, None, None]:
    """Send a request; yield status and headers, then the bytes."""
    response = client.send(request, stream=True)
    try:
        yield response.status_code, response.headers
        yield from response.iter_bytes()
    finally:
        response.close()


class _AsyncClientLink:
    """Sends through a client of httpx2 for each event loop, or through the user's."""

    def __init__(self, args: dict[str, Any], given: httpx2.AsyncClient | None) -> None:
        self._given = given
        self._loops = PerLoop(lambda: httpx2.AsyncClient(**complete_args(args)))

    async def send(self, head: Head, body: bytes, clock: Clock) -> AsyncReading:
        clock.send()
        client = self._given or await self._loops.get()
        patience = httpx2.Timeout(None, connect=clock.times.connect)
        request = client.build_request("POST", head.url, content=body, headers=head.given, timeout=patience)
        async with asyncio.timeout(clock.left_or_none()):
            return _AsyncResponse(await client.send(request, stream=True), clock)

    async def aclose(self) -> None:
        await self._loops.aclose()


class _AsyncResponse:
    def __init__(self, response: httpx2.Response, clock: Clock) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response, self._clock = response, clock
        self._chunks = response.aiter_bytes()

    async def read(self) -> bytes | None:
        # No scope may be open across a yield of whoever reads: its end would be raised in the caller's code.
        async with asyncio.timeout(self._clock.left_or_none()):
            data = await anext(self._chunks, None)
        self._clock.hear()
        return data

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._response.aclose()
