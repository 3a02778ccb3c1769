"""Threads and the event loop that the drivers run tools on."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from agentkit.errors import AgentError

T = TypeVar("T")

Done = Callable[[Any, BaseException | None], None]
"""Told once: what a tool returned, or what it raised."""

CLOSING_SECONDS = 2.0
"""How long a cancelled tool may take to clean up before it is left behind."""


def in_thread(function: Callable[[], Any], done: Done, name: str) -> None:
    """Call a function in a thread of its own, in a copy of the caller's context.

    The thread is a daemon: a tool that can't be stopped never keeps the process alive.
    """
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(function)
        except BaseException as error:
            done(None, error)
        else:
            done(value, None)

    threading.Thread(target=work, name=name, daemon=True).start()


async def settle(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Call a function, await what it returns if that can be awaited; return its value, or what it raised.

    Only a cancellation gets out: a SystemExit of a tool would end the event loop.
    """
    try:
        value = function()
        return (await value if isinstance(value, Awaitable) else value), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


async def off_loop(function: Callable[[], T]) -> T:
    """Call a function that blocks in a thread, and wait for it.

    A cancellation waits until the function is done, so that nothing is half known of what it did.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle_result(value: Any, error: BaseException | None) -> None:
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)

    def done(value: Any, error: BaseException | None) -> None:
        loop.call_soon_threadsafe(settle_result, value, error)

    in_thread(function, done, "agentkit-store")
    cancelled: asyncio.CancelledError | None = None
    while not result.done():
        try:
            await asyncio.shield(result)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: S110 - it is the function's own, and raised below
            pass
    if cancelled is not None:
        result.exception()
        raise cancelled
    return result.result()


class Portal:
    """An event loop for the async tools of sync callers.

    Its thread lives only while somebody is inside; the loop itself stays, so that what a tool keeps from
    one run to the next (an HTTP client's connections) still belongs to a loop that works.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._users = 0
        atexit.register(self._close)

    def enter(self) -> None:
        """Make sure that the loop runs until `leave`.

        Raises:
            AgentError: The caller is an async tool that runs here: it would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise AgentError(
                "An async tool can't call run() of an agent with async tools: await agent.aio.run()."
            )
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="agentkit-portal", daemon=True
            )
            self._thread.start()

    def leave(self) -> None:
        """Say that the loop is no longer needed here; the last one out ends its thread."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            thread, self._thread = self._thread, None
            assert self._loop is not None and thread is not None  # noqa: S101 - enter() made both
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    def start(self, function: Callable[[], Any], done: Done) -> Callable[[], None]:
        """Run a function that may be async, in the caller's context; return a function that cancels it."""
        assert self._loop is not None  # noqa: S101 - enter() made it
        loop, context = self._loop, contextvars.copy_context()
        tasks: list[asyncio.Task[tuple[Any, BaseException | None]]] = []

        def finish(task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
            done(*((None, asyncio.CancelledError()) if task.cancelled() else task.result()))

        def begin() -> None:
            task = loop.create_task(settle(function), context=context)
            tasks.append(task)
            task.add_done_callback(finish)

        loop.call_soon_threadsafe(begin)

        def cancel() -> None:
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())

        return cancel

    def _close(self) -> None:
        if self._loop is not None and self._thread is None:
            self._loop.close()


portal = Portal()
"""One for the process: connections that async tools keep belong to its loop, whichever agent calls them."""


def _after_fork() -> None:
    global portal
    atexit.unregister(portal._close)
    portal = Portal()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
