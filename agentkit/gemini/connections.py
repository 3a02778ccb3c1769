"""Connections to Gemini's server on httpcore2: each has one request at a time, and is kept for the next.

httpx2's clients cost a request about as much again, and their pool goes through all connections and requests
whenever one begins or ends.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import httpcore2
import httpx2

from agentkit.gemini.times import Clock

MOST_CONNECTIONS = 100
"""As many as httpx2 has by default: further requests wait until others are done."""
KEEPALIVE_SECONDS = 5.0
"""For so long httpx2 keeps a connection that isn't used; the next request after that closes it."""
_HEAD_START = 0.25
"""Seconds after which the next of a server's addresses is tried too (RFC 8305)."""


class Head(NamedTuple):
    """Where a request goes, and its headers."""

    url: httpx2.URL
    given: Mapping[str, str]
    """The headers that httpx2 doesn't set by itself."""
    target: httpcore2.URL
    headers: Sequence[tuple[bytes, bytes]]
    """All, but for the length of the body."""

    @classmethod
    def of(cls, url: httpx2.URL, given: Mapping[str, str]) -> Head:
        """Make it as httpx2 does, but for kinds of compression that only others can read."""
        built = httpx2.Request("POST", url, headers={"accept": "*/*", "connection": "keep-alive", **given})
        built.headers["accept-encoding"] = "gzip"
        raw = [(name, value) for name, value in built.headers.raw if name.lower() != b"content-length"]
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return cls(url, given, target, raw)

    def request(self, body: bytes) -> httpcore2.Request:
        """Make the request of this body."""
        length = (b"content-length", str(len(body)).encode())
        return httpcore2.Request("POST", self.target, headers=[*self.headers, length], content=body)


class _Timed(httpcore2.NetworkStream):
    """A stream of bytes whose reads and writes take as long as the clock of its request says.

    What is written, head and body, goes out in one piece, before the first read.
    """

    clock: Clock

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner
        self._out: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            with suppress(httpcore2.WriteError):  # a server may answer, and close, before it has read all
                self._inner.write(data, self.clock.left_or_none())
        if self.clock.passed():
            raise httpcore2.ReadTimeout
        return self._inner.read(max_bytes, self.clock.left_or_none())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._out.append(buffer)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Connection(httpcore2.HTTP11Connection):
    """A connection, with the stream of its bytes."""

    def __init__(self, origin: httpcore2.Origin, stream: _Timed) -> None:
        super().__init__(origin, stream, KEEPALIVE_SECONDS)
        self.timed = stream


class Answer:
    """What came back of a sync request, as it comes."""

    def __init__(self, owner: Connections, connection: _Connection, response: httpcore2.Response) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._owner, self._connection, self._response = owner, connection, response
        self._clock = connection.timed.clock
        self._unzip = _unzip(self.headers)
        self._chunks = cast(Generator[bytes, None, None], iter(cast(Iterable[bytes], response.stream)))

    def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        data = next(self._chunks, None)
        if data is None:
            return None
        self._clock.hear()
        return data if self._unzip is None else self._unzip.decompress(data)

    def close(self) -> None:
        """Let the connection be used again, or close it if there was more to come."""
        try:
            self._chunks.close()
            self._response.close()
        finally:
            self._owner.give_back(self._connection)


class Connections:
    """Connections of sync requests, from any thread."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.idle: deque[_Connection] = deque()
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()

    def send(self, head: Head, body: bytes, clock: Clock) -> Answer:
        """Send a request; return what begins to come back."""
        if not self._places.acquire(timeout=clock.left_or_none()):
            raise httpcore2.PoolTimeout
        connection = None
        try:
            connection = self._take(head.target.origin) or self._connect(head.target, clock)
            clock.send()
            connection.timed.clock = clock
            response = connection.handle_request(head.request(body))
        except BaseException:
            self.give_back(connection)
            raise
        return Answer(self, connection, response)

    def give_back(self, connection: _Connection | None) -> None:
        """Take back a connection whose request is over."""
        if connection is not None and connection.is_idle():
            with self._lock:
                self.idle.append(connection)
        elif connection is not None:
            connection.close()
        self._places.release()

    def close(self) -> None:
        """Close what isn't used."""
        self.close_all(self.idle)

    @staticmethod
    def close_all(idle: deque[_Connection]) -> None:
        """Close connections, from any thread."""
        with suppress(IndexError):
            while True:
                idle.pop().close()

    def _take(self, origin: httpcore2.Origin) -> _Connection | None:
        """Take a connection that is idle, and close those that have been for too long."""
        with self._lock:
            old = [each for each in self.idle if each.has_expired()]
            for each in old:
                self.idle.remove(each)
            found = next((each for each in reversed(self.idle) if each.can_handle_request(origin)), None)
            if found is not None:
                self.idle.remove(found)
        for each in old:
            each.close()
        return found

    def _connect(self, url: httpcore2.URL, clock: Clock) -> _Connection:
        clock.connect()
        host, port = url.host.decode("ascii"), url.origin.port
        stream = httpcore2.SyncBackend().connect_tcp(host, port, timeout=clock.left_or_none())
        if url.scheme == b"https":
            self._context.set_alpn_protocols(["http/1.1"])
            stream = stream.start_tls(self._context, server_hostname=host, timeout=clock.left_or_none())
        return _Connection(url.origin, _Timed(stream))


class _AsyncTimed(httpcore2.AsyncNetworkStream):
    """asyncio's streams, written to as `_Timed` does.

    When the time of a request is up its connection is cut: that needs no scope for each read.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._out: list[bytes] = []
        self.clock: Clock | None = None

    def begin(self, clock: Clock) -> None:
        """Begin a request."""
        self.clock = clock
        self._set_timer()

    def hear(self) -> None:
        """Note that a piece of the reply has come."""
        if self.clock is not None and not self._late:
            self.clock.hear()
            if self._timer is None or self._timer.when() > self._loop.time() + self.clock.left():
                self._set_timer()  # else it looks again by itself

    def end(self) -> None:
        """Note that the request is over."""
        self.clock = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._out:
            out, self._out = b"".join(self._out), []
            with suppress(OSError):  # a server may answer, and close, before it has read all
                self._writer.write(out)
                await self._writer.drain()
        try:
            data = await self._reader.read(max_bytes)
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error
        if self._late:
            raise httpcore2.ReadTimeout
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._out.append(buffer)

    async def aclose(self) -> None:
        self.end()
        self._writer.close()
        try:
            await asyncio.sleep(0)
        finally:
            self._writer.transport.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # while nobody reads, that is its end
            return self._reader.at_eof() or self._writer.transport.is_closing() or _has_bytes(self._writer)
        return self._writer.get_extra_info(info)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.clock is not None and (left := self.clock.left_or_none()) is not None:
            self._timer = self._loop.call_later(left, self._look)

    def _look(self) -> None:
        if self.clock is not None and self.clock.passed():
            self._late = True
            self._writer.transport.abort()
        else:
            self._set_timer()


class _AsyncConnection(httpcore2.AsyncHTTP11Connection):
    """A connection, with the stream of its bytes."""

    def __init__(self, origin: httpcore2.Origin, stream: _AsyncTimed) -> None:
        super().__init__(origin, stream, KEEPALIVE_SECONDS)
        self.timed = stream


class AsyncAnswer:
    """What came back of an async request, as it comes."""

    def __init__(
        self, owner: AsyncConnections, connection: _AsyncConnection, response: httpcore2.Response
    ) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._owner, self._connection, self._response = owner, connection, response
        self._unzip = _unzip(self.headers)
        chunks = cast(AsyncIterable[bytes], response.stream).__aiter__()
        self._chunks = cast(AsyncGenerator[bytes, None], chunks)

    async def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        data = await anext(self._chunks, None)
        if data is None:
            return None
        self._connection.timed.hear()
        return data if self._unzip is None else self._unzip.decompress(data)

    async def aclose(self) -> None:
        """Let the connection be used again, or close it if there was more to come."""
        try:
            await self._chunks.aclose()
            await self._response.aclose()
        finally:
            await self._owner.give_back(self._connection)


class AsyncConnections:
    """Connections of the requests of one event loop."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._idle: deque[_AsyncConnection] = deque()
        self._all: set[_AsyncConnection] = set()
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)

    async def send(self, head: Head, body: bytes, clock: Clock) -> AsyncAnswer:
        """Send a request; return what begins to come back."""
        if self._places.locked():
            async with asyncio.timeout(clock.left_or_none()):
                await self._places.acquire()
        else:
            await self._places.acquire()
        connection = None
        try:
            connection = await self._take(head.target.origin) or await self._connect(head.target, clock)
            clock.send()
            connection.timed.begin(clock)
            response = await connection.handle_async_request(head.request(body))
        except BaseException:
            await self.give_back(connection)
            raise
        return AsyncAnswer(self, connection, response)

    async def give_back(self, connection: _AsyncConnection | None) -> None:
        """Take back a connection whose request is over."""
        try:
            if connection is not None and connection.is_idle():
                connection.timed.end()
                self._idle.append(connection)
            elif connection is not None:
                await self._close(connection)
        finally:
            self._places.release()

    async def aclose(self) -> None:
        """Close all."""
        self._idle.clear()
        while self._all:
            await self._all.pop().aclose()

    async def _take(self, origin: httpcore2.Origin) -> _AsyncConnection | None:
        """Take a connection that is idle, and close those that have been for too long."""
        while self._idle and self._idle[0].has_expired():
            await self._close(self._idle.popleft())
        while self._idle:
            found = self._idle.pop()
            if found.can_handle_request(origin) and not found.has_expired():
                return found
            await self._close(found)
        return None

    async def _close(self, connection: _AsyncConnection) -> None:
        self._all.discard(connection)
        await connection.aclose()

    async def _connect(self, url: httpcore2.URL, clock: Clock) -> _AsyncConnection:
        clock.connect()
        host, is_secure = url.host.decode("ascii"), url.scheme == b"https"
        if is_secure:
            self._context.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(clock.left_or_none()):
                streams = await asyncio.open_connection(
                    host,
                    url.origin.port,
                    ssl=self._context if is_secure else None,
                    happy_eyeballs_delay=_HEAD_START,
                )
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        connection = _AsyncConnection(url.origin, _AsyncTimed(*streams))
        self._all.add(connection)
        return connection


def _headers(response: httpcore2.Response) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _unzip(headers: Mapping[str, str]) -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 32) if headers.get("content-encoding") == "gzip" else None


def _has_bytes(writer: asyncio.StreamWriter) -> bool:
    """Return whether there is something to read that the event loop hasn't seen yet: the server's end, say."""
    with suppress(AttributeError, OSError, ValueError):
        import select

        poll = select.poll()
        poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return False
