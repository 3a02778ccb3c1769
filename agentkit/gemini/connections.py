"""Connections to Gemini's server: each has one request at a time, and is kept for the next.

httpx2's clients cost a request several times as much, and their pool goes through all connections and requests
whenever one begins or ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import select
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import httpx2

from agentkit.gemini.http11 import NEED_DATA, PIECE, Exchange, Head
from agentkit.gemini.times import Clock
from agentkit.model import Interrupt, here

MOST_CONNECTIONS = 200
"""Further requests wait until others are done. macOS lets a process open 256 files, unless told otherwise."""
KEEPALIVE_SECONDS = 5.0
"""For so long httpx2 keeps a connection that isn't used; the next request after that closes it."""
_log = logging.getLogger("agentkit.gemini")
_ANSWERED = "%s://%s:%d answered %d"
_HEAD_START = 0.25
"""Seconds after which the next of a server's addresses is tried too (RFC 8305)."""


class _Connection:
    """A connection, whose requests take as long as their clocks say."""

    def __init__(self, origin: tuple[str, str, int], stream: socket.socket) -> None:
        self.origin = origin
        self.exchange = Exchange()
        self.kept_until = 0.0
        self._socket = stream
        self._poll = _poll_of(stream)
        self._interrupt: Interrupt | None = None

    def send(self, head: Head, body: bytes, clock: Clock) -> None:
        """Send a request."""
        self.clock = clock
        if (interrupt := here.interrupt) is not None:
            self._interrupt = interrupt
            interrupt.note(self._cut)
        data = self.exchange.begin(head, body)
        self._socket.settimeout(clock.wait())
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            pass  # a server may answer, and close, before it has read all

    def next(self) -> Any:
        """Return what comes next of the reply."""
        event = self.exchange.next()
        while event is NEED_DATA:
            self._socket.settimeout(self.clock.wait())
            try:
                data = self._socket.recv(PIECE)
            except TimeoutError:
                raise
            except OSError as error:
                raise httpx2.ReadError(str(error)) from error
            event = self.exchange.next(data)
        return event

    def end(self) -> bool:
        """Note that the request is over; return whether the connection can be used again."""
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            interrupt.note(None)
            if interrupt.called:
                return False
        return self.exchange.end()

    def is_over(self) -> bool:
        """Return whether the server has closed a connection that is idle."""
        return bool(self._poll(0))

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _cut(self) -> None:
        """End it below TLS, from any thread: whoever reads gets to its end."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Answer:
    """What came back of a sync request, as it comes."""

    def __init__(self, owner: Connections, connection: _Connection) -> None:
        self._owner, self._connection = owner, connection
        self.status: int
        self.headers: Mapping[str, str]
        self.status, self.headers = connection.next()
        _log.debug(_ANSWERED, *connection.origin, self.status)
        self._unzip = _unzip(self.headers)

    def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        data = cast("bytes | None", self._connection.next())
        if data is None:
            return None
        self._connection.clock.hear()
        return data if self._unzip is None else self._unzip(data)

    def close(self) -> None:
        """Let the connection be used again, or close it if there was more to come."""
        self._owner.give_back(self._connection)


class Connections:
    """Connections of sync requests, from any thread."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.idle: deque[_Connection] = deque()
        self._places: SimpleQueue[None] = SimpleQueue()  # a semaphore takes many times as long
        for _ in range(MOST_CONNECTIONS):
            self._places.put(None)
        self._lock = threading.Lock()

    def send(self, head: Head, body: bytes, clock: Clock) -> Answer:
        """Send a request; return what begins to come back."""
        try:
            self._places.get(timeout=clock.left_or_none())
        except Empty:
            raise TimeoutError from None
        connection = None
        try:
            connection = self._take(head.origin) or self._connect(head.origin, clock)
            clock.send()
            connection.send(head, body, clock)
            return Answer(self, connection)
        except BaseException:
            self.give_back(connection)
            raise

    def give_back(self, connection: _Connection | None) -> None:
        """Take back a connection whose request is over."""
        if connection is not None and connection.end():
            connection.kept_until = time.monotonic() + KEEPALIVE_SECONDS
            with self._lock:
                self.idle.append(connection)
        elif connection is not None:
            connection.close()
        self._places.put(None)

    def close(self) -> None:
        """Close what isn't used."""
        self.close_all(self.idle)

    @staticmethod
    def close_all(idle: deque[_Connection]) -> None:
        """Close connections, from any thread."""
        with suppress(IndexError):
            while True:
                idle.pop().close()

    def _take(self, origin: tuple[str, str, int]) -> _Connection | None:
        while True:
            with self._lock:
                found, is_usable = _take(self.idle, origin)
            if found is None or is_usable:
                return found
            found.close()

    def _connect(self, origin: tuple[str, str, int], clock: Clock) -> _Connection:
        clock.connect()
        scheme, host, port = origin
        try:
            stream = socket.create_connection((host, port), clock.left_or_none())
            try:
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "https":
                    self._context.set_alpn_protocols(["http/1.1"])
                    stream.settimeout(clock.left_or_none())
                    stream = self._context.wrap_socket(stream, server_hostname=host)
            except BaseException:
                stream.close()
                raise
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        return _Connection(origin, stream)


class _AsyncConnection:
    """The same on asyncio's streams. When the time of a request is up it is cut: that needs no scope for each read."""

    def __init__(
        self,
        origin: tuple[str, str, int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.origin = origin
        self.exchange = Exchange()
        self.kept_until = 0.0
        self._reader, self._writer = reader, writer
        self._poll = _poll_of(writer.get_extra_info("socket"))
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._clock: Clock | None = None

    async def send(self, head: Head, body: bytes, clock: Clock) -> None:
        """Send a request."""
        self._clock = clock
        self._watch(min(clock.left(), clock.times.chunk))  # soon enough for what comes after the first byte
        data = self.exchange.begin(head, body)
        with suppress(OSError):  # a server may answer, and close, before it has read all
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size():
                await self._writer.drain()

    async def next(self) -> Any:
        """Return what comes next of the reply."""
        event = self.exchange.next()
        while event is NEED_DATA:
            try:
                data = await self._reader.read(PIECE)
            except OSError as error:
                if not self._late:
                    raise httpx2.ReadError(str(error)) from error
            if self._late:
                raise TimeoutError
            event = self.exchange.next(data)
        return event

    def hear(self) -> None:
        """Note that a piece of the reply has come."""
        if self._clock is not None and not self._late:
            self._clock.hear()
            self._watch(self._clock.left())

    def end(self) -> bool:
        """Note that the request is over; return whether the connection can be used again."""
        self._clock = None
        return self.exchange.end() and not self._late

    def is_over(self) -> bool:
        """Return whether the server has closed a connection that is idle."""
        return self._reader.at_eof() or self._writer.transport.is_closing() or bool(self._poll(0))

    def close(self) -> None:
        """Begin to close it."""
        self.end()
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()

    def abort(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()

    def _watch(self, seconds: float) -> None:
        """Have a timer look after so many seconds, or earlier: one that is there does for many requests."""
        when = self._loop.time() + seconds
        if when < math.inf and (self._timer is None or self._timer.when() > when):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._clock is None:
            return
        if self._clock.passed():
            self._late = True
            self._writer.transport.abort()
        else:
            self._watch(self._clock.left())


class AsyncAnswer:
    """What came back of an async request, as it comes."""

    def __init__(
        self, owner: AsyncConnections, connection: _AsyncConnection, began: tuple[int, Mapping[str, str]]
    ) -> None:
        self.status, self.headers = began
        _log.debug(_ANSWERED, *connection.origin, self.status)
        self._owner, self._connection = owner, connection
        self._unzip = _unzip(self.headers)

    async def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        data = cast("bytes | None", await self._connection.next())
        if data is None:
            return None
        self._connection.hear()
        return data if self._unzip is None else self._unzip(data)

    async def aclose(self) -> None:
        """Let the connection be used again, or close it if there was more to come."""
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
            connection = await self._take(head.origin) or await self._connect(head.origin, clock)
            clock.send()
            await connection.send(head, body, clock)
            return AsyncAnswer(self, connection, await connection.next())
        except BaseException:
            await self.give_back(connection)
            raise

    async def give_back(self, connection: _AsyncConnection | None) -> None:
        """Take back a connection whose request is over."""
        try:
            if connection is not None and connection.end():
                connection.kept_until = time.monotonic() + KEEPALIVE_SECONDS
                self._idle.append(connection)
            elif connection is not None:
                await self._close(connection)
        finally:
            self._places.release()

    async def aclose(self) -> None:
        """Close all."""
        self._idle.clear()
        await self._close(*self._all)

    async def _take(self, origin: tuple[str, str, int]) -> _AsyncConnection | None:
        while True:
            found, is_usable = _take(self._idle, origin)
            if found is None or is_usable:
                return found
            await self._close(found)

    async def _close(self, *connections: _AsyncConnection) -> None:
        """Close connections, all at the same time: a loop that ends doesn't wait long."""
        self._all.difference_update(connections)
        for each in connections:
            each.close()
        try:
            await asyncio.sleep(0)
        finally:
            for each in connections:
                each.abort()

    async def _connect(self, origin: tuple[str, str, int], clock: Clock) -> _AsyncConnection:
        clock.connect()
        scheme, host, port = origin
        if scheme == "https":
            self._context.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(clock.left_or_none()):
                streams = await asyncio.open_connection(
                    sock=await _dial(host, port),
                    ssl=self._context if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        connection = _AsyncConnection(origin, *streams)
        self._all.add(connection)
        return connection


async def _dial(host: str, port: int) -> socket.socket:
    """Connect to the first of a server's addresses that answers.

    asyncio has the same for `open_connection`, which loses a socket that connects as the task is cancelled.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name, which may take its time
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(addresses) == 1:
        return await _connected(*addresses[0])
    families = [family for family, *_ in addresses]
    turns = sorted(range(len(addresses)), key=lambda at: families[:at].count(families[at]))
    left = deque(addresses[at] for at in turns)
    tries: set[asyncio.Task[socket.socket]] = set()
    failed: OSError | None = None
    try:
        while left or tries:
            if left:
                tries.add(loop.create_task(_connected(*left.popleft())))
            head_start = _HEAD_START if left else None
            for each in (await asyncio.wait(tries, timeout=head_start, return_when=asyncio.FIRST_COMPLETED))[
                0
            ]:
                tries.remove(each)
                try:
                    return each.result()
                except OSError as error:
                    failed = error
        raise failed or OSError(f"{host} has no address")
    finally:
        for each in tries:
            each.cancel()
            each.add_done_callback(_close_result)


async def _connected(family: int, kind: int, protocol: int, _: str, address: Any) -> socket.socket:
    stream = socket.socket(family, kind, protocol)
    try:
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, address)
    except BaseException:
        stream.close()
        raise
    return stream


def _close_result(done: asyncio.Task[socket.socket]) -> None:
    if not done.cancelled() and done.exception() is None:
        done.result().close()


_Kept = TypeVar("_Kept", _Connection, _AsyncConnection)


def _take(idle: deque[_Kept], origin: tuple[str, str, int]) -> tuple[_Kept | None, bool]:
    """Take the connection that has been idle for too long, else the one that was used last; and whether it will do."""
    if not idle:
        return None, False
    now = time.monotonic()
    found = idle.popleft() if idle[0].kept_until < now else idle.pop()
    return found, found.kept_until >= now and found.origin == origin and not found.is_over()


def _unzip(headers: Mapping[str, str]) -> Callable[[bytes], bytes] | None:
    """Return what unpacks the pieces of a reply, if it comes packed."""
    if headers.get("content-encoding", "").lower() not in ("gzip", "x-gzip"):
        return None
    packed = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def unzip(data: bytes) -> bytes:
        try:
            return packed.decompress(data)
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from error

    return unzip


def _poll_of(stream: Any) -> Callable[[int], Sequence[object]]:
    """Return what lists that there is something to read: while nobody asks, that is the server's end."""
    if not hasattr(select, "poll"):
        return lambda _: ()
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    return poll.poll
