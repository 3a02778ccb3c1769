"""One connection to a server, whatever threads and event loops its callers are in."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from agentkit.errors import ToolError
from agentkit.mcp.content import clip
from agentkit.mcp.questions import Questions
from agentkit.mcp.transport import Target

T = TypeVar("T")

log = logging.getLogger("agentkit.mcp")

THREAD = "agentkit-mcp"
MAX_PAGES = 100
"""Of a list that are read."""
_REMEMBERED_RUNS = 1_000


class Connection:
    """Keeps a client of the SDK on an event loop of its own, in a daemon thread that begins with the first use.

    The SDK's client belongs to the task that enters it: calls from another loop never return. One task enters,
    holds and leaves it. Nothing in here refers to the `MCP` object, so that the collector may take that.

    Args:
        target: How the server is reached.
        name: The server's, for errors and logs.
        timeout: Seconds that a request may take.
        connect_timeout: Seconds that connecting may take.
    """

    def __init__(self, target: Target, name: str, *, timeout: float, connect_timeout: float) -> None:
        self.target = target
        self.name = name
        self.timeout = timeout
        self.connects = 0
        """How often it was made."""
        self.tools_changed = True
        """Whether the server may have other tools than those that were listed."""
        self._connect_timeout = connect_timeout
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._closed = False
        self._inherited: list[Any] = []
        """What a forked child has of its parent's connection: collecting it would take the parent's events away."""
        self._forget_all()

    def _forget_all(self) -> None:
        self._ready: asyncio.Future[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope: Any = None
        self.questions = Questions()
        self.listing = asyncio.Lock()
        self._restarts: OrderedDict[str, None] = OrderedDict()

    # -- from any thread

    @property
    def closed(self) -> bool:
        """Whether it is ended for ever."""
        return self._closed

    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> Future[T]:
        """Call an async function on the connection's loop.

        Raises:
            ToolError: The connection was closed.
        """
        loop = self._started()
        return asyncio.run_coroutine_threadsafe(function(*args), loop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise ToolError(f"The connection to the MCP server {self.name!r} is closed.")
            if self._loop is None or self._pid != os.getpid():  # a forked child makes one of its own
                self._inherited.append((self._loop, self._task, self._ready, self._scope, self.questions))
                self._forget_all()
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                threading.Thread(target=_turn, args=(self._loop,), name=THREAD, daemon=True).start()
            return self._loop

    def close(self) -> None:
        """End the connection and its thread; a server that was started is gone then."""
        with self._lock:
            loop, self._closed = self._loop, True
            self._loop = None
            if loop is None or self._pid != os.getpid():  # a forked child: the connection is its parent's
                return
        closing = asyncio.run_coroutine_threadsafe(self._end(), loop)
        closing.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        if threading.current_thread().name != THREAD:  # the collector runs in any thread
            closing.result(10)

    # -- on the connection's loop

    async def client(self, run_id: str = "") -> Any:
        """Return the client, connected; who asks first connects, the others wait for the same.

        Args:
            run_id: Of the run that asks: it has a server that ended started anew once.

        Raises:
            ToolError: The server can't be reached.
        """
        if self._ready is None:
            self._note_restart(run_id)
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._own(self._ready))
        return await asyncio.shield(self._ready)

    @property
    def live(self) -> bool:
        """Whether it is made, or being made."""
        return self._ready is not None

    def _note_restart(self, run_id: str) -> None:
        if not (self.connects and run_id and self.target.command):
            return
        if run_id in self._restarts:
            raise ToolError(f"The MCP server {self.name!r} ended twice in this run: it is not started again.")
        self._restarts[run_id] = None
        if len(self._restarts) > _REMEMBERED_RUNS:
            self._restarts.popitem(last=False)

    def forget(self, client: Any) -> None:
        """Give up a client whose connection is lost; the next one who asks gets another."""
        ready = self._ready
        if ready is not None and ready.done() and not ready.exception() and ready.result() is client:
            self._ready = None
            self._scope.cancel()

    async def _own(self, ready: asyncio.Future[Any]) -> None:
        """Enter, hold and leave the client, all in this task."""
        problem: BaseException = TimeoutError()
        try:
            end = asyncio.get_running_loop().time() + self._connect_timeout
            for mode in ("auto", "legacy"):  # some old servers end when the first request isn't `initialize`
                problem = await self._hold(ready, mode, end)
                if ready.done() or getattr(problem, "code", None) != -32000:
                    break
        finally:
            if self._ready is ready:
                self._ready = None
            if not ready.done():
                more = "" if isinstance(problem, FileNotFoundError) else self.target.hint
                why = f"{_say(problem)}{self.target.refusal}{more}"
                ready.set_exception(ToolError(f"Can't connect to the MCP server {self.name!r}: {why}."))
                ready.exception()  # seen, though nobody may wait any more

    async def _hold(self, ready: asyncio.Future[Any], mode: str, end: float) -> BaseException:
        import anyio

        # scope.cancel(), never task.cancel(), which would break off the transport's own closing
        with anyio.CancelScope(deadline=end) as scope:
            self._scope = scope

            def gone() -> None:
                if ready.done() and self._ready is ready:
                    self._ready = None
                    scope.cancel()

            try:
                async with self._new_client(mode, gone) as client, anyio.create_task_group() as group:
                    scope.deadline = math.inf
                    self.connects += 1
                    self.tools_changed = True
                    self.questions.in_calls = client.protocol_version < "2026-07-28"
                    group.start_soon(self._listen, client)
                    ready.set_result(client)
                    await anyio.sleep_forever()
            except Exception as raised:
                return _first(raised)
        return TimeoutError(f"it has not answered for {self._connect_timeout:g} s")

    def _new_client(self, mode: str, gone: Callable[[], None]) -> Any:
        from mcp import Client

        server: Any = self.target.server or self.target.open(gone, self.timeout)
        return Client(
            server,
            mode=mode,
            read_timeout_seconds=self.timeout,
            cache=None,
            elicitation_callback=self.questions.ask,
            message_handler=self._hear,
        )

    async def _hear(self, message: Any) -> None:
        """Take note of a notification, up to 2025-11-25."""
        if getattr(message, "method", None) == "notifications/tools/list_changed":
            self.tools_changed = True

    async def _listen(self, client: Any) -> None:
        """Take note of notifications, from 2026-07-28 on."""
        tools = client.server_capabilities.tools
        if self.questions.in_calls or tools is None or not tools.list_changed:
            return
        try:
            async with client.listen(tools_list_changed=True) as events:
                async for _ in events:
                    self.tools_changed = True
        except Exception as error:
            log.info("The MCP server %r doesn't tell of changes any more: %s", self.name, _say(_first(error)))

    async def _end(self) -> None:
        self._closed = True
        if self._task is not None and not self._task.done():
            self._scope.cancel()
            await asyncio.wait([self._task])


async def pages(ask: Callable[..., Coroutine[Any, Any, Any]], field: str, most: int) -> list[Any]:
    """Read a list page by page, up to so many items; a cursor may never end."""
    found: list[Any] = []
    cursor = None
    for _ in range(MAX_PAGES):
        page = await ask(cursor=cursor)
        found += getattr(page, field)
        cursor = page.next_cursor
        if cursor is None or len(found) >= most:
            break
    return found[:most]


async def plainly(name: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Await a request, with the SDK's errors in plain words."""
    from mcp import MCPError
    from pydantic import ValidationError

    try:
        return await function(*args)
    except (MCPError, ValidationError, RuntimeError) as error:
        raise ToolError(
            f"The MCP server {name!r} refuses, or its answer can't be read: {clip(error)}"
        ) from error


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _say(error: BaseException) -> str:
    text = clip(error).strip().rstrip(".")
    return text or type(error).__name__


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
