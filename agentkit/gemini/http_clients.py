"""What HTTP clients for Gemini are made with, and what each event loop has of its own."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import httpx2

from agentkit.errors import ConfigurationError


class Closable(Protocol):
    """What can be closed."""

    async def aclose(self) -> None:
        """Close it."""
        ...


T = TypeVar("T", bound=Closable)


class PerLoop(Generic[T]):
    """What each event loop that asks has one of, closed when its loop ends: HTTP clients, connections.

    Connections belong to the loop that opened them: a model that serves `asyncio.run` twice, or loops in
    several threads, needs some for each.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: dict[asyncio.AbstractEventLoop, _Kept[T]] = {}

    async def get(self) -> T:
        """Return that of the running loop."""
        loop = asyncio.get_running_loop()
        if (kept := self._kept.get(loop)) is not None:
            return kept.made
        for ended in [other for other in tuple(self._kept) if other.is_closed()]:
            self._forget(ended)
        made = self._make()
        keeper = _close_with_loop(made, loop, weakref.ref(self))
        finalizer = weakref.finalize(self, _close_soon, keeper, loop)
        finalizer.atexit = False
        self._kept[loop] = _Kept(made, keeper, finalizer)
        await anext(keeper)
        return made

    async def aclose(self) -> None:
        """Close that of the running loop."""
        kept = self._kept.get(asyncio.get_running_loop())
        if kept is not None:
            await kept.keeper.aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._kept.pop(loop).finalizer.detach()


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    made: T
    keeper: AsyncGenerator[None, None]
    finalizer: weakref.finalize[[AsyncGenerator[None, None], asyncio.AbstractEventLoop], PerLoop[T]]


async def _close_with_loop(
    made: Closable, loop: asyncio.AbstractEventLoop, owner: weakref.ref[PerLoop[Any]]
) -> AsyncGenerator[None, None]:
    """Wait, suspended, for the loop's end: there, asyncio closes every generator that is still open."""
    try:
        yield
    finally:
        kept_by = owner()
        if kept_by is not None:
            kept_by._forget(loop)
        await made.aclose()


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
