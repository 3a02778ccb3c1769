"""Who writes which session in this process, and who waits for it: from any thread, event loop or store object.

A turn is handed from who leaves to who has waited longest; nobody looks again and again, and nobody is woken in vain.
Turns are kept by what identifies a store and by the session, not by object: two stores on one file, or two chats of
one id, wait for each other.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from agentkit.errors import SessionConflict

Key = tuple[Hashable, str]
"""What identifies a store, and a session's id."""


class Turn:
    """The right to write a session, among those of this process. One that nobody refers to any more is given up.

    Args:
        key: Of what.
        wake: Tells whoever waits for it, from any thread, that it has come; raises RuntimeError if nobody is there.
    """

    hold: _Hold
    """How it is known to those who wait."""

    def __init__(self, key: Key, wake: Callable[[], object]) -> None:
        self.key = key
        self.wake = wake
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[object] | None = None

    @property
    def runs(self) -> bool:
        """Whether a run has it, and not a change."""
        return self._thread is not None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark what happens now, and what it starts, as the work of the one who has this turn."""
        self._thread, self._task = threading.current_thread(), _task()
        token = _INSIDE.set((*_INSIDE.get(), self))
        try:
            yield
        finally:
            with suppress(ValueError):  # of a generator that is collected elsewhere
                _INSIDE.reset(token)

    def refuse_holder(self) -> None:
        """Raise SessionConflict if whoever asks would wait for itself."""
        if self in _INSIDE.get():
            raise SessionConflict(
                f"The chat {self.key[1]!r} can't be changed from within its own run: a tool or a hook of that run "
                "asked for it. Nothing was changed; do it when the run has ended."
            )
        task = _task()
        if self._thread is threading.current_thread() and (task is None or self._task in (None, task)):
            raise SessionConflict(
                f"The chat {self.key[1]!r}: its last answer is still being streamed: read it to the end or close it "
                "(use `with`) first."
            )


_INSIDE: ContextVar[tuple[Turn, ...]] = ContextVar("agentkit_turns", default=())


class _Hold(weakref.ref[Turn]):
    """A turn, which isn't kept alive by it."""

    key: Key


class Turns:
    """All turns of a process."""

    def __init__(self) -> None:
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Key, _Hold] = {}
        self._waiting: dict[Key, deque[Turn]] = {}
        self._left: deque[_Hold] = deque()
        """Turns that were given up while the lock was held: whoever holds it hands them on."""

    def holder(self, key: Key) -> Turn | None:
        """Return the turn of whoever has it."""
        hold = self._held.get(key)
        return None if hold is None else hold()

    def enter(self, key: Key, wait: float | None) -> Turn | None:
        """Take the turn, waiting for it so many seconds (None: as long as it takes); None if it didn't come."""
        told = threading.Lock()
        told.acquire()
        turn = Turn(key, told.release)
        try:
            if self._take(turn):
                return turn
            told.acquire(timeout=-1 if wait is None else min(max(wait, 0), threading.TIMEOUT_MAX))
        except BaseException:
            self._give_up(turn)
            raise
        return self._settle(turn)

    async def aenter(self, key: Key, wait: float | None) -> Turn | None:
        """Do the same in an event loop, without blocking it."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not told.done():
                told.set_result(None)

        turn = Turn(key, lambda: loop.call_soon_threadsafe(tell))
        try:
            if self._take(turn):
                return turn
            async with asyncio.timeout(wait):
                await told
        except TimeoutError:
            pass
        except BaseException:  # cancelled: perhaps just when the turn had come
            self._give_up(turn)
            raise
        return self._settle(turn)

    def leave(self, turn: Turn) -> None:
        """Hand a turn on, if it is still the one that counts. May be called by a finalizer, anywhere."""
        self._leave(turn.hold)

    def evict(self, key: Key) -> None:
        """Take the turn from whoever has it: its session is gone."""
        if (hold := self._held.get(key)) is not None:
            self._leave(hold)

    def _hold(self, turn: Turn) -> None:
        turn.hold = hold = _Hold(turn, self._leave)
        hold.key = turn.key
        self._held[turn.key] = hold

    def _leave(self, *holds: _Hold) -> None:
        # Never waits for the lock: who has it, even this very thread below us, does this when it lets go.
        self._left.extend(holds)
        while self._left and self._lock.acquire(blocking=False):
            try:
                while self._left:
                    hold = self._left.popleft()
                    if self._held.get(hold.key) is hold:
                        self._hand_on(hold.key)
            finally:
                self._lock.release()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            self._leave()

    def _hand_on(self, key: Key) -> None:
        queue = self._waiting.get(key)
        while queue:
            waiter = queue.popleft()
            self._hold(waiter)
            try:
                waiter.wake()
                break
            except RuntimeError:  # its event loop is closed
                continue
        else:
            self._held.pop(key, None)
        if not queue:
            self._waiting.pop(key, None)

    def _take(self, turn: Turn) -> bool:
        """Take the turn if it is free, else stand in line; return which."""
        with self._locked():
            if turn.key not in self._held:
                self._hold(turn)
                return True
            self._waiting.setdefault(turn.key, deque()).append(turn)
            return False

    def _settle(self, waiter: Turn) -> Turn | None:
        """End the waiting: return the turn if it has come, else leave the line."""
        with self._locked():
            if self.holder(waiter.key) is waiter:
                return waiter
            queue = self._waiting.get(waiter.key)
            if queue and waiter in queue:
                queue.remove(waiter)
                if not queue:
                    del self._waiting[waiter.key]
            return None

    def _give_up(self, waiter: Turn) -> None:
        if self._settle(waiter) is not None:
            self.leave(waiter)


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


TURNS = Turns()
if hasattr(os, "register_at_fork"):  # who held or waited is in the parent
    os.register_at_fork(after_in_child=TURNS._start_anew)
