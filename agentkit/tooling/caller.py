"""The thread that called a run: where tools that ask a person are called, in time that doesn't count."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

Told = Callable[[Any, BaseException | None], None]


class Caller:
    """Who called the outermost run; the runs of its sub-agents have the same."""

    def __init__(self) -> None:
        self.post: Callable[[Callable[[], None]], None] | None = None
        """Has something done in the caller's thread; None where all drivers are in it."""
        self._lock = threading.Lock()
        self._asking = 0
        self._since = self._aside = 0.0

    def now(self) -> float:
        """Return a time in seconds that stands still while a person is asked."""
        return (self._since if self._asking else time.monotonic()) - self._aside

    @property
    def is_asking(self) -> bool:
        """Whether a person is asked."""
        return self._asking > 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let the time stand still."""
        with self._lock:
            if not self._asking:
                self._since = time.monotonic()
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                if self._asking == 1:
                    self._aside += time.monotonic() - self._since
                self._asking -= 1

    async def wait(self, value: Awaitable[Any]) -> Any:
        """Await what a function that asks a person gave, where its own thread has a loop that goes on."""
        with self.asking():
            return await value

    def ask(self, function: Callable[[], Any], told: Told) -> None:
        """Call a function that asks a person, in the caller's thread; tell what it returned or raised.

        What it gives to await is awaited there, unless an event loop runs there: then it is what is told. A Ctrl-C
        ends the run.
        """

        def call() -> None:
            told(*self._call(function))

        if self.post is None:
            call()
        else:
            self.post(call)

    def _call(self, function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        with self.asking():
            try:
                value = contextvars.copy_context().run(function)
                return (_awaited(value) if isinstance(value, Awaitable) else value), None
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return None, error


def _awaited(value: Awaitable[Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(_await(value))
    return value


async def _await(value: Awaitable[Any]) -> Any:
    return await value
