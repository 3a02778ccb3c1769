"""The file of a `SQLiteStore`: opening it, transactions on it, and what went wrong in words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

from agentkit.errors import ConfigurationError, StoreError, StoreVersionError
from agentkit.stores._sqlite_schema import (
    APPLICATION_ID,
    MIGRATIONS,
    PAGE_SIZE,
    has_fts5,
    has_index,
    migrate,
)
from agentkit.stores._values import DamagedRow

_OLDEST = (3, 37)  # STRICT tables
_GROWING = 0.3  # seconds that a file may look damaged


class SQLiteFile:
    """One connection behind a lock, for all threads.

    It never crosses a fork, which would break SQLite's locks (https://sqlite.org/howtocorrupt.html, 2.6): it is
    closed just before, and opened again by whoever needs it.
    """

    _connection: sqlite3.Connection | None = None

    def __init__(self, path: str | os.PathLike[str], busy_timeout: float) -> None:
        name = os.fspath(path)
        if name in ("", ":memory:"):
            raise ConfigurationError(f"SQLiteStore({name!r}): give the path of a file, or use MemoryStore().")
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreError(
                f"SQLiteStore needs SQLite 3.37 or later; this Python has {sqlite3.sqlite_version}."
            )
        self.path = Path(name).absolute()
        self.indexed = False
        """Whether there is an index of words."""
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()
        self._in_transaction = False
        self._durable: bool | None = None
        """What SQLite was told of the transactions to come."""
        self._pid = 0
        self._closed = False
        with _FILES_LOCK:
            _FILES.add(self)
        with self._lock, self._in_words():
            self._connected()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Open a transaction that sees one instant."""
        return self._transaction("BEGIN")

    def writing(self, *, durable: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Open a transaction that may write: stored when it ends, or nothing of it if it raises.

        If not `durable`, a power loss may take it away until the next one that is; the end of the process can't.
        """
        return self._transaction("BEGIN IMMEDIATE", durable=durable)

    def close(self) -> None:
        """Close the file for good; may be called more than once."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def __del__(self) -> None:
        self._disconnect()

    @contextmanager
    def _transaction(self, begin: str, *, durable: bool | None = None) -> Iterator[sqlite3.Connection]:
        with self._lock, self._in_words():
            if self._in_transaction:  # of this thread, as it got the lock: it mustn't be touched from here
                raise StoreError(
                    f"{self.path} can't be used here: what runs now (a signal's handler, or the end of an object "
                    "that nobody closed) came in the middle of a transaction of its own thread. Nothing was done."
                )
            try:
                self._in_transaction = True
                connection = self._connected()
                try:
                    if durable is not None and durable != self._durable:
                        self._durable = None  # until it is said
                        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                        self._durable = durable
                    connection.execute(begin)
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.rollback()
                    raise
            finally:
                self._in_transaction = False

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn what SQLite raises, and what rows raise that can't be read, into StoreErrors."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except (DamagedRow, UnicodeDecodeError) as error:
            raise StoreError(f"{self.path} is damaged: a row of it can't be read, {error}.") from error
        except OSError as error:
            raise StoreError(f"{self.path} can't be opened: {error.strerror}.") from error

    def _explain(self, error: sqlite3.Error) -> StoreError:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the rest of the bits are details
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                what = (
                    f"is locked: somebody else has been writing to it for {self._busy_timeout:g} s "
                    "(busy_timeout). Nothing was stored; try again"
                )
            case sqlite3.SQLITE_FULL:
                what = "can't grow, the disk is full. Nothing was stored, and what was before stays"
            case sqlite3.SQLITE_IOERR:
                what = f"can't be read or written ({error}): the disk, or what this user may have of it, may be full"
            case sqlite3.SQLITE_READONLY:
                what = "is read-only, or its folder is: SQLite has to write in both"
            case sqlite3.SQLITE_CANTOPEN:
                what = "can't be opened: this user has to be able to read and write it and its folder"
            case sqlite3.SQLITE_NOTADB:
                what = "is not an SQLite database, or its beginning is damaged; it was left as it is"
            case sqlite3.SQLITE_CORRUPT:
                what = f"is damaged: {error}. Take a copy from before; `check()` tells what is wrong"
            case _:
                what = f"can't be used: {error}"
        return StoreError(f"{self.path} {what}.")

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"The store of {self.path} is closed.")
        if self._connection is not None and self._pid != os.getpid():
            raise StoreError(
                f"{self.path} was opened before a fork that Python knew nothing of; open it after."
            )
        if self._connection is None:
            self._durable = None
            self._connection = self._open()
            self._pid = os.getpid()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise StoreError(
                f"There is no folder {self.path.parent}: make it, then open {self.path.name} in it."
            )
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder: give the path of a file.")
        self._refuse_strangers()
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_strangers(self) -> None:
        """Raise if the file isn't ours, or newer; at first in a mode in which SQLite can't change anything.

        Reading its first bytes without SQLite would drop the locks that this process has on it. That mode takes
        no locks either, and doesn't look into `-wal`: a file that another process is just making longer, or was
        killed while it did, looks damaged. SQLite itself sees it whole.
        """
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        until, mode = time.monotonic() + _GROWING, "mode=ro&immutable=1"
        while True:
            try:
                self._look(mode)
                return
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT or time.monotonic() > until:
                    raise
            mode = "mode=rw"
            time.sleep(0.01)

    def _look(self, mode: str) -> None:
        uri = f"{self.path.as_uri()}?{mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=self._busy_timeout)) as connection:
            self._version(connection)

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return how many migrations were run. Raises StoreError if the file isn't ours, or newer."""
        if _pragma(connection, "application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is an SQLite database, but not one of agentkit; it was left as it is."
            )
        version = _pragma(connection, "user_version")
        if version > len(MIGRATIONS):
            raise StoreVersionError(
                f"{self.path} was written by a newer agentkit (schema {version}; this one knows "
                f"{len(MIGRATIONS)}); it was left as it is. Upgrade agentkit."
            )
        return version

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.text_factory = _text
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # of a new file
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if _pragma(connection, "user_version") != len(MIGRATIONS):
            connection.execute("BEGIN IMMEDIATE")  # and look again: another process may be doing the same
            is_new = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
            migrate(connection, 0 if is_new else self._version(connection))
            connection.execute("COMMIT")
        self._use_wal(connection)
        self.indexed = has_index(connection)
        if self.indexed and not has_fts5(connection):
            raise StoreError(
                f"{self.path} has an FTS5 index; the SQLite of this Python was built without FTS5."
            )

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        until = time.monotonic() + self._busy_timeout
        while True:  # for this one thing SQLite doesn't wait by itself
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _text(raw: bytes) -> str:
    """Decode a text; an id or a title may have lone surrogates, which SQLite keeps as they come."""
    return raw.decode("utf-8", "surrogatepass")


_FILES: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()
_FILES_LOCK = threading.RLock()
_forking: list[SQLiteFile] = []


def _before_fork() -> None:
    _FILES_LOCK.acquire()
    for file in list(_FILES):
        file._lock.acquire()
        _forking.append(file)
        file._disconnect()


def _after_fork() -> None:
    while _forking:
        _forking.pop()._lock.release()
    _FILES_LOCK.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
