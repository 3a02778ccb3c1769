"""How a process learns that something changed in the database: told by PostgreSQL, or by looking at the file."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from agentkit.durable.schema import CHANNEL
from agentkit.stores.dialect import Dialect

Wake = Callable[[], object]
ANY = "*"
"""Wakes whoever waits for anything."""
_LOOK = 0.02
"""Seconds between looks at a file."""
LOOK_AGAIN = 5.0
"""Seconds after which a watcher looks again, though nobody told it to."""
_QUIET = 0.5
"""Seconds after which a thread looks whether it is still needed."""


def is_postgres(database: Dialect) -> bool:
    """Return whether a store's database is PostgreSQL: else it is a file."""
    return getattr(database, "path", None) is None


def key_of(stream: str) -> str:
    """Name a stream in few characters."""
    return hashlib.md5(stream.encode(), usedforsecurity=False).hexdigest()[:16]


class Signals:
    """Wakes who waits. One thread listens while somebody does.

    A signal says no more than: look again. None is lost while its waiter is there, and some come for nothing.
    """

    def __init__(self, database: Dialect) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Wake]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def waiting(self, keys: Iterable[str], wake: Wake) -> Iterator[None]:
        """Have `wake` called, in any thread, at each signal of one of these keys."""
        names = [*keys]
        with self._lock:
            for name in names:
                self._waiting.setdefault(name, []).append(wake)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._listen, name="agentkit-signals", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                for name in names:
                    self._waiting[name].remove(wake)
                    if not self._waiting[name]:
                        del self._waiting[name]

    def tell(self, keys: Iterable[str]) -> None:
        """Wake those of this process who wait for one of these keys."""
        with self._lock:
            wakes = [wake for key in keys for wake in self._waiting.get(key, ())]
        for wake in wakes:
            with suppress(RuntimeError):  # its event loop is closed
                wake()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(2)

    def _tell_all(self) -> None:
        with self._lock:
            keys = [*self._waiting]
        self.tell(keys)

    @property
    def _needed(self) -> bool:
        with self._lock:
            if self._closed.is_set() or not self._waiting:
                self._thread = None
                return False
            return True

    def _listen(self) -> None:
        database: Any = self._db
        while self._needed:
            try:
                self._listen_to_server() if is_postgres(database) else self._look_at_file(str(database.path))
            except Exception:  # the server is away, or the file is: whoever waits looks by itself meanwhile
                self._tell_all()
                self._closed.wait(0.2)

    def _listen_to_server(self) -> None:
        database: Any = self._db
        with closing(database._connect()) as db:
            db.execute(f"LISTEN {CHANNEL}".encode())
            self._tell_all()  # of what came before it listened
            while self._needed:
                for told in db.notifies(timeout=_QUIET):
                    self.tell([ANY, *told.payload.split()])

    def _look_at_file(self, path: str) -> None:
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as db:
            seen, until = None, time.monotonic() + _QUIET
            while True:
                version = db.execute("PRAGMA data_version").fetchone()[0]
                if version != seen:
                    seen = version
                    self._tell_all()
                if self._closed.wait(_LOOK):
                    return
                if time.monotonic() > until:
                    if not self._needed:
                        return
                    until = time.monotonic() + _QUIET


@contextmanager
def told_here(signals: Signals, keys: Iterable[str]) -> Iterator[threading.Event]:
    """Give a `threading.Event` that each signal sets."""
    event = threading.Event()
    with signals.waiting(keys, event.set):
        yield event


@contextmanager
def told_in_loop(signals: Signals, keys: Iterable[str]) -> Iterator[asyncio.Event]:
    """Give an `asyncio.Event` that each signal sets."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    with signals.waiting(keys, lambda: loop.call_soon_threadsafe(event.set)):
        yield event
