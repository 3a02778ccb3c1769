"""HTTP clients for Gemini, and those of each event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.request import getproxies

import httpx2

from agentkit.errors import ConfigurationError

_MOST_CONNECTIONS = 100
"""As many as httpx2 has by default: further requests wait until others are done."""

_KEEPALIVE_SECONDS = 5.0
"""For so long httpx2 keeps a connection that isn't used; the next request after that closes it."""

_POOLING = frozenset({"http2", "limits", "mounts", "transport"})
"""Arguments of httpx2 that say how connections are pooled."""


class LoopClients:
    """Async HTTP clients for each event loop that asks for one, closed when its loop ends.

    Connections belong to the loop that opened them: a model that serves `asyncio.run` twice, or loops in
    several threads, needs clients for each.
    """

    def __init__(self, args: dict[str, Any]) -> None:
        self._args = args
        self._kept: dict[asyncio.AbstractEventLoop, _Kept] = {}

    async def borrow(self) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        """Borrow a client of the running loop, for one request."""
        loop = asyncio.get_running_loop()
        if loop not in self._kept:
            for ended in [other for other in tuple(self._kept) if other.is_closed()]:
                self._forget(ended)
            clients = _Clients(self._args)
            keeper = _close_with_loop(clients, loop, weakref.ref(self))
            finalizer = weakref.finalize(self, _close_soon, keeper, loop)
            finalizer.atexit = False
            self._kept[loop] = _Kept(clients, keeper, finalizer)
            await anext(keeper)
        return self._kept[loop].clients.borrow()

    async def aclose(self) -> None:
        """Close the clients of the running loop."""
        kept = self._kept.get(asyncio.get_running_loop())
        if kept is not None:
            await kept.keeper.aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._kept.pop(loop).finalizer.detach()


class _Clients:
    """The clients of one event loop, each with one request at a time and so with one connection.

    A pool of httpx2 goes through all its connections and requests whenever a request begins or ends: with a
    hundred of them, that takes longer than the requests do. Where the user's arguments say how connections
    are pooled, there is one client for all, whose pool does as they say.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._args = complete_args(args)
        if isinstance(self._args.get("verify"), ssl.SSLContext) and not getproxies():
            self._args.setdefault("trust_env", False)  # else each client goes through all of the environment
        self._all: set[httpx2.AsyncClient] = set()
        self._shared = None if _POOLING.isdisjoint(args) else self._make()
        self._idle: deque[tuple[float, httpx2.AsyncClient]] = deque()
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)

    @asynccontextmanager
    async def borrow(self) -> AsyncGenerator[httpx2.AsyncClient, None]:
        if self._shared is not None:
            yield self._shared
            return
        async with self._places:
            await self._close_idle(time.monotonic() - _KEEPALIVE_SECONDS)
            client = self._idle.pop()[1] if self._idle else self._make()
            try:
                yield client
            finally:
                self._idle.append((time.monotonic(), client))

    async def aclose(self) -> None:
        while self._all:
            await self._all.pop().aclose()

    async def _close_idle(self, since: float) -> None:
        while self._idle and self._idle[0][0] < since:
            _, client = self._idle.popleft()
            self._all.discard(client)
            await client.aclose()

    def _make(self) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(**self._args)
        self._all.add(client)
        return client


class _Kept(NamedTuple):
    clients: _Clients
    keeper: AsyncGenerator[None, None]
    finalizer: weakref.finalize[[AsyncGenerator[None, None], asyncio.AbstractEventLoop], LoopClients]


async def _close_with_loop(
    clients: _Clients, loop: asyncio.AbstractEventLoop, owner: weakref.ref[LoopClients]
) -> AsyncGenerator[None, None]:
    """Wait, suspended, for the loop's end: there, asyncio closes every generator that is still open."""
    try:
        yield
    finally:
        kept_by = owner()
        if kept_by is not None:
            kept_by._forget(loop)
        await clients.aclose()


def _close_soon(keeper: AsyncGenerator[None, None], loop: asyncio.AbstractEventLoop) -> None:
    """Close clients whose model was collected, from whatever thread that happened in."""
    with suppress(RuntimeError):  # the loop is closed, and its connections with it
        loop.call_soon_threadsafe(lambda: loop.create_task(_aclose(keeper)))


async def _aclose(keeper: AsyncGenerator[None, None]) -> None:
    await keeper.aclose()


def complete_args(given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what the user gave for an HTTP client.

    Redirects aren't followed unless the user says so: the key would go along to wherever they lead.
    """
    args = {key: value for key, value in given.items() if key != "ssl"}
    if "transport" not in args and "cert" not in args and args.get("verify", True) is True:
        args["verify"] = _default_ssl()
    return args


_ssl_maker: threading.Thread | None = None


@functools.cache
def begin_ssl() -> None:
    """Begin, once, to make the default SSL context in a thread: it reads files while google.genai is imported."""

    def make() -> None:
        with suppress(Exception):  # whoever needs it is told
            _ssl_context(*_certificates())

    global _ssl_maker
    maker = threading.Thread(target=make, name="agentkit-ssl", daemon=True)
    maker.start()
    _ssl_maker = maker  # not before it can be joined


def _default_ssl() -> ssl.SSLContext:
    if _ssl_maker is not None:
        _ssl_maker.join()
    return _ssl_context(*_certificates())


def _certificates() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


@functools.cache
def _ssl_context(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    """Make an SSL context, as the SDK does, once for all models: it costs about 60 ms."""
    if cafile or capath:
        try:
            return ssl.create_default_context(cafile=cafile or None, capath=capath or None)
        except OSError as error:
            raise ConfigurationError(
                f"No certificates can be read (SSL_CERT_FILE={cafile!r}, SSL_CERT_DIR={capath!r}): {error}."
                " Set these variables to a file or a folder of certificates, or unset them."
            ) from error
    return httpx2.create_ssl_context()
