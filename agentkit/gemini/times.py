"""How long a request to Gemini may take: to connect, to begin its reply, between two pieces of it, and in all."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

from agentkit.model import Traits, call_in_thread, here
from agentkit.wire.content import JsonObject, Request

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Times:
    """Seconds that a request may take."""

    connect: float
    first_byte: float
    """From when it is sent until its reply begins."""
    chunk: float
    """Without any byte of a reply that has begun."""
    whole: float | None = None
    """In all; None means no limit."""
    slow: bool = False
    """Whether the reply may be very long in coming."""


class Clock:
    """What is left of the times of one request: they run one after another, and the whole beside them."""

    def __init__(self, times: Times) -> None:
        self.times = times
        self._end = math.inf if times.whole is None else time.monotonic() + times.whole
        self._due, self._seconds, self._said = self._end, 0.0, ""
        self.reached = False
        """Whether the request may have reached the server."""

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """Make one that has but the time of the whole."""
        return cls(Times(connect=seconds, first_byte=seconds, chunk=seconds, whole=seconds))

    def connect(self) -> None:
        """Begin to connect."""
        self.reached = False
        self._begin(self.times.connect, "couldn't be connected to within {:g} s")

    def send(self) -> None:
        """Begin to send, and to wait for the reply."""
        self.reached = True
        self._begin(self.times.first_byte, "didn't begin to reply within {:g} s")

    def hear(self) -> None:
        """Note that a piece of the reply has come, and begin to wait for the next."""
        self._begin(self.times.chunk, "was silent for {:g} s in the middle of its reply")

    def left(self) -> float:
        """Return the seconds that are left of what goes on now; never 0."""
        return max(self._due - time.monotonic(), 0.001)

    def left_or_none(self) -> float | None:
        """Return the same, or None where there is no limit."""
        return None if self._due == math.inf else max(self._due - time.monotonic(), 0.001)

    def wait(self) -> float | None:
        """Return the same. Raises TimeoutError: nothing is left."""
        if self._due == math.inf:
            return None
        if (left := self._due - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def passed(self) -> bool:
        """Return whether nothing is left."""
        return time.monotonic() >= self._due

    def said(self) -> str:
        """Say in words which time has passed: what the model didn't do."""
        whole = self._due >= self._end or not self._said
        if whole:
            return f"didn't answer in full within {self.times.whole or 0:g} s"
        return self._said.format(self._seconds)

    def _begin(self, seconds: float, said: str) -> None:
        self._seconds, self._said = seconds, said  # put together if anybody asks
        due = time.monotonic() + seconds
        self._due = due if due < self._end else self._end


def times_for(
    traits: Traits, request: Request, *, whole: float | None = None, given: Mapping[str, float] = {}
) -> Times:
    """Return the times that a model needs for a request, but for those that are given.

    It may take very long to begin where it thinks at its highest level, or is asked at the flex tier.
    """
    config: JsonObject = request.get("generationConfig") or {}
    thinking = config and (config.get("thinkingConfig") or config.get("thinking_config") or {})
    level = thinking and str(thinking.get("thinkingLevel") or thinking.get("thinking_level") or "").upper()
    tier: Any = cast(JsonObject, request).get("serviceTier") or config.get("serviceTier") or ""
    slow = "flex" in str(tier).lower() or level == "HIGH" or (not level and traits.thinks_long)
    return Times(
        connect=given.get("connect", traits.connect_seconds),
        first_byte=given.get(
            "first_byte", traits.slow_first_byte_seconds if slow else traits.first_byte_seconds
        ),
        chunk=given.get("chunk", traits.chunk_seconds),
        whole=whole,
        slow=slow,
    )


class Pull(Generic[T]):
    """Goes on with an iterator in a thread of its own, so that nobody waits for it longer than a clock says.

    For what blocks as long as it likes. A thread that was given up ends when the iterator comes back to it.
    """

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._got: SimpleQueue[tuple[T | None, BaseException | None] | None] = SimpleQueue()
        """What came; None where nobody is to wait for it any more."""
        self._given_up = False
        self._interrupt = here.interrupt
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), name="agentkit-read", daemon=True).start()

    def next(self, clock: Clock) -> T | None:
        """Return what comes next, or None at the end. Raises TimeoutError, and what the iterator raises."""
        self._asked.put(True)
        if self._interrupt is not None:
            self._interrupt.note(self._cut)
        got = None
        try:
            with suppress(Empty):
                got = self._got.get(timeout=clock.left_or_none())
        finally:
            self._given_up = got is None
            if self._interrupt is not None:
                self._interrupt.note(None)
        if got is None:
            raise TimeoutError
        item, error = got
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Close the iterator, unless it is still waited for: then it closes when it comes back."""
        self._asked.put(False)
        if not self._given_up:
            self._got.get()

    def _cut(self) -> None:
        self._got.put(None)

    def _work(self) -> None:
        iterator: Any = None
        try:
            while self._asked.get():
                try:
                    iterator = self._make() if iterator is None else iterator
                    self._got.put((next(iterator, None), None))
                except BaseException as error:
                    self._got.put((None, error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
            self._got.put((None, None))


def called(function: Callable[[], T], clock: Clock) -> T:
    """Call a function that blocks as long as it likes; wait for it no longer than a clock says.

    Raises:
        TimeoutError: It took longer.
    """
    pull = Pull(lambda: iter((function(),)))
    try:
        return cast(T, pull.next(clock))
    finally:
        pull.close()


async def acalled(function: Callable[[], T], clock: Clock) -> T:
    """Do the same without holding up the event loop, which may close before the function has ended."""
    async with asyncio.timeout(clock.left_or_none()):
        return await call_in_thread(function)
