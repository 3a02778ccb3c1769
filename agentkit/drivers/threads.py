"""Threads and the event loop that the drivers run tools on."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from agentkit.errors import AgentError

T = TypeVar("T")

Done = Callable[[Any, BaseException | None], None]
"""Told once: what a tool returned, or what it raised."""

CLOSING_SECONDS = 2.0
"""How long a cancelled async tool may take to clean up before it is left behind."""

RESPONSE_SECONDS = 0.5
"""How long an event loop may take to turn once before it counts as blocked by a tool."""


IDLE_SECONDS = 1.0
"""How long a thread that has nothing to do waits for the next call before it ends."""

_Job = tuple[Callable[[], Any], Done, str, contextvars.Context]


class Threads:
    """Daemon threads, one for each call under way: one that is done waits a little for another call.

    There is no limit, and none waits in a queue: a call that can't be stopped keeps its thread, and never the
    process alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Job | None]] = []

    def run(self, function: Callable[[], Any], done: Done, name: str) -> None:
        """Call a function in a thread that waits, the last one first, or in a new one: in a copy of the context."""
        job = function, done, name, contextvars.copy_context()
        with self._lock:
            jobs = self._idle.pop() if self._idle else None
        if jobs is not None:
            jobs.put(job)
            return
        jobs = SimpleQueue()
        jobs.put(job)
        threading.Thread(target=self._work, args=(jobs,), name=name, daemon=True).start()

    def close_idle(self) -> None:
        """End the threads that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for jobs in idle:
            jobs.put(None)

    def _work(self, jobs: SimpleQueue[_Job | None]) -> None:
        thread = threading.current_thread()
        while (job := self._next(jobs)) is not None:
            function, done, thread.name, context = job
            value = error = None
            try:
                value = context.run(function)
            except BaseException as raised:
                error = raised
            job = function = context = None  # type: ignore[assignment] # nothing is kept alive
            thread.name = "agentkit-idle"
            with self._lock:
                self._idle.append(jobs)
            done(value, error)  # near the end, for who waits for it wants the interpreter now
            done = value = error = None  # type: ignore[assignment]

    def _next(self, jobs: SimpleQueue[_Job | None]) -> _Job | None:
        try:
            return jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if jobs in self._idle:
                    self._idle.remove(jobs)
                    return None
        return jobs.get()  # somebody has just taken it


pool = Threads()


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


def raisable(error: BaseException) -> BaseException:
    """Return what a function raised as it can be raised in a generator, for which some exceptions mean its end."""
    if not isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
        return error
    ended = RuntimeError(f"a function raised {type(error).__name__}")
    ended.__cause__ = error
    return ended


def begin(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call a function that blocks in a thread; return a future of the running event loop."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def tell(value: Any, error: BaseException | None) -> None:
        if result.done():
            discard(value)  # nobody waits any more
        elif error is not None:
            result.set_exception(raisable(error))
        else:
            result.set_result(value)

    def done(value: Any, error: BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(tell, value, error)
        except RuntimeError:  # the loop has ended
            discard(value)

    pool.run(function, done, name)
    return result


async def call(function: Callable[[], Any], name: str) -> Any:
    """Call a function that may block or be async, and wait for what it returns."""
    result = begin(function, name)
    try:
        value = await result
    except asyncio.CancelledError:
        if result.done() and not result.cancelled() and result.exception() is None:
            discard(result.result())
        raise
    if not isinstance(value, Awaitable):
        return value
    try:
        return await value
    except (GeneratorExit, StopAsyncIteration) as error:
        if asyncio._get_running_loop() is None:  # it is closed, since its loop has ended
            raise
        raise raisable(error) from error


def discard(value: Any) -> None:
    """Close a coroutine that nobody will await: Python would warn of it."""
    if inspect.iscoroutine(value):
        value.close()


async def off_loop(function: Callable[[], T]) -> T:
    """Call a function that blocks in a thread, and wait for it.

    A cancellation waits until the function is done, so that nothing is half known of what it did.
    """
    result = begin(function, "agentkit-store")
    cancelled: asyncio.CancelledError | None = None
    while not result.done():
        try:
            await asyncio.wait([result])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        result.exception()  # seen, though not raised
        raise cancelled
    return result.result()


@contextlib.contextmanager
def logged(what: str) -> Iterator[None]:
    """Log what is raised, where it must not take the place of what was done."""
    try:
        yield
    except Exception:
        logging.getLogger("agentkit.run").exception(what)


class PortalHandle:
    """An event loop of a portal's that turns in a thread of its own, until `Portal.leave` or until it is forgotten."""

    def __init__(self, loop: asyncio.AbstractEventLoop, portal: Portal) -> None:
        self.loop = loop
        self.thread = threading.Thread(
            target=_turn, args=(loop, weakref.ref(self), portal), name="agentkit-portal", daemon=True
        )
        self.end = weakref.finalize(self, _stop, loop, self.thread)
        self.end.atexit = False

    def start(self, function: Callable[[], Any], done: Done) -> Callable[[], None]:
        """Run a function that may be async, in the caller's context; return a function that cancels it."""
        loop, context = self.loop, contextvars.copy_context()
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

    def responds(self) -> bool:
        """Return whether the loop still turns: an async tool that blocks holds it up."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(RESPONSE_SECONDS)


def _turn(loop: asyncio.AbstractEventLoop, handle: weakref.ref[PortalHandle], portal: Portal) -> None:
    """Turn a loop until it is stopped; not at all if a Ctrl-C has taken its handle before it began."""
    turning = handle() is not None
    while turning:
        try:
            loop.run_forever()
            turning = False
        except (KeyboardInterrupt, SystemExit):
            # Of a task that a tool has begun: whoever awaits it gets it, too.
            if (found := handle()) is None or not found.end.alive:
                loop.call_soon(loop.stop)  # the one before may be lost
            found = None
    if not portal.keeps(loop):
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread.ident is not None:  # else it doesn't turn, and would stop as soon as somebody else turns it
        with contextlib.suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(loop.stop)


class Portal:
    """Event loops for the async tools of sync callers, one each: an async tool that blocks holds up its own caller.

    One loop is kept, for callers one after another: what a tool keeps from one run to the next (an HTTP client's
    connections) still belongs to a loop that works. Its thread lives only while somebody has a handle of it; a task
    that a tool starts and leaves behind stands still in between. Who comes while it is taken gets a loop of their own,
    which is closed with the thread. A loop that a tool blocks is left behind for a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._handles: weakref.WeakSet[PortalHandle] = weakref.WeakSet()
        self._turning: dict[
            threading.Thread, tuple[asyncio.AbstractEventLoop, weakref.ref[PortalHandle]]
        ] = {}
        atexit.register(self._close)

    def enter(self) -> PortalHandle:
        """Return a handle; its loop turns at least until that is left, or forgotten.

        Raises:
            AgentError: The caller is an async tool that runs here: it would hold up its own run.
        """
        # A Ctrl-C may strike between any two of these lines: each state in between must do for the next one, and a
        # handle that nobody has any more ends its thread.
        with self._lock:
            if any(threading.current_thread() is handle.thread for handle in self._handles):
                raise AgentError(
                    "An async tool can't call run() of an agent with async tools: await agent.aio.run()."
                )
            self._end_forgotten()
            is_taken = any(handle.loop is self._loop for handle in self._handles)
            is_blocked = not is_taken and self._thread in self._turning
            if self._loop is None or self._loop.is_closed() or is_blocked:
                self._loop = asyncio.new_event_loop()
            handle = PortalHandle(asyncio.new_event_loop() if is_taken else self._loop, self)
            self._handles.add(handle)
            self._turning[handle.thread] = handle.loop, weakref.ref(handle)
            if not is_taken:
                self._thread = handle.thread
            handle.thread.start()
            return handle

    def leave(self, handle: PortalHandle) -> None:
        """Give a handle back: its thread ends, and is waited for unless it is blocked."""
        handle.end()
        with self._lock:
            self._handles.discard(handle)
        if handle.thread is not threading.current_thread():
            handle.thread.join(RESPONSE_SECONDS)

    def _end_forgotten(self) -> None:
        """End threads whose handle is gone and whose end a Ctrl-C has swallowed; their loops aren't kept any more."""
        for thread, (loop, handle) in list(self._turning.items()):
            if handle() is not None:
                continue
            if thread.ident is not None:  # Python 3.11 takes one for dead if a Ctrl-C strikes in join()
                self._loop = None if loop is self._loop else self._loop
                _stop(loop, thread)
            else:
                del self._turning[thread]

    def keeps(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a loop is the one that is kept, now that its thread turns it no longer."""
        with self._lock:
            self._turning.pop(threading.current_thread(), None)
            if loop is not self._loop:
                return False
            self._thread = None  # it isn't blocked, though its thread may live a moment longer
            return True

    def _close(self) -> None:
        if self._loop is not None and not self._loop.is_running():
            self._loop.close()


portal = Portal()
"""One for the process: connections that async tools keep belong to its loop, whichever agent calls them."""


_of_parents: list[Portal] = []
"""Those of the process that forked: to collect one would close, in the child, what both wait on."""


def _after_fork() -> None:
    global portal, pool
    pool = Threads()
    atexit.unregister(portal._close)
    _of_parents.append(portal)
    portal = Portal()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
