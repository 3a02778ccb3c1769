"""The file of a `SQLiteStore`: opening it, transactions on it, and what went wrong in words."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Hashable, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError, StoreError
from agentkit.stores._owner import Owner
from agentkit.stores.dialect import closed, in_midst
from agentkit.stores.migrations import migrate
from agentkit.stores.records import parse
from agentkit.stores.rows import Statement
from agentkit.stores.sqlite_tables import Tables, filled

PAGE_SIZE = 1024  # a step changes about ten pages, so a third of the bytes that the usual 4096 costs
_OLDEST = (3, 37)  # STRICT tables
_LOOKS = 30  # at a file that looks damaged, a hundredth of a second apart: one look may take any time
_FAULTS = (sqlite3.Error, UnicodeDecodeError, OSError)
_UNSEEN = 600.0  # seconds without a step after which a writer is gone that can't be seen from here


class SQLite:
    """One connection behind a lock, for all threads; see `Dialect`.

    To a file, it never crosses a fork, which would break SQLite's locks (https://sqlite.org/howtocorrupt.html, 2.6):
    it is closed just before, and opened again by whoever needs it.
    """

    _connection: sqlite3.Connection | None = None

    def __init__(self, path: str | os.PathLike[str], busy_timeout: float) -> None:
        name = os.fspath(path)
        if name == "":
            raise ConfigurationError('SQLiteStore(""): give the path of a file, or ":memory:".')
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreError(
                f"SQLiteStore needs SQLite 3.37 or later; this Python has {sqlite3.sqlite_version}."
            )
        self.memory = name == ":memory:"
        self.path = Path(name) if self.memory else Path(name).absolute()
        self.name = str(self.path)
        self.identity: Hashable = None
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()
        self._in_transaction = False
        self._durable: bool | None = None
        """What SQLite was told of the transactions to come."""
        self._file: tuple[int, int] | None = None
        """Device and inode of what is open."""
        self._pid = 0
        self._closed = False
        self._seen = -1
        with _FILES_LOCK:
            _FILES.add(self)
        with self._lock:
            try:
                self._connected()
            except _FAULTS as error:
                raise self._in_words(error) from error

    # -- the dialect

    def run(
        self,
        statements: Sequence[Statement],
        *,
        write: bool = True,
        durable: bool = True,
        again: bool = False,
        patient: bool = True,
    ) -> list[list[Any]]:
        """Run statements in one transaction; see `Dialect.run`."""
        with self._lock:
            if self._in_transaction:  # of this thread, as it got the lock: it mustn't be touched from here
                raise in_midst(self.name)
            try:
                self._in_transaction = True
                connection = self._connected()
                if write and not self.memory:
                    self._prepare_to_write(connection, durable=durable)
                begin = "BEGIN IMMEDIATE" if write else "BEGIN"
                try:
                    return _send(connection, begin, statements)
                except sqlite3.OperationalError as error:
                    if connection.text_factory is _text or "decode" not in str(error):
                        raise
                    connection.text_factory = _text  # from now on: it is slower
                    return _send(connection, begin, statements)
            except _FAULTS as error:
                raise self._in_words(error) from error
            finally:
                self._in_transaction = False

    def owner(self) -> str:
        """Name this process."""
        return f"[{time.time()!r}, {_described(Owner.current())}]"

    def holder(self, owner: str) -> str:
        """Say which process has a lease."""
        if (found := _read_owner(owner)) is None:
            return "another process"
        who = found[1]
        here = who == Owner.current()
        return "another thread or task of this process" if here else f"another process (pid {who.pid})"

    def wait(self, id: str, seconds: float) -> None:
        """Wait until another connection has written something (SQLite's data version), at most so long."""
        until, pause = time.monotonic() + seconds, 0.001
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            with self._lock:
                if self._in_transaction:
                    return
                try:
                    version = self._connected().execute("PRAGMA data_version").fetchone()[0]
                except _FAULTS as error:
                    raise self._in_words(error) from error
            if version != self._seen:
                self._seen = version
                return
            pause = min(pause * 1.3, 0.02)

    def query(self, words: Sequence[str]) -> str:
        """Ask for all words: each a string of FTS5's."""
        return " AND ".join(f'"{word[:-1]}"*' if word[-1] == "*" else f'"{word}"' for word in words)

    def hits(self, among: str) -> str:
        """Look into the index once: without the `+`, SQLite does so for each message of `among`."""
        return "SELECT rowid AS id FROM found WHERE found MATCH ?" + (among and f" AND +rowid IN ({among})")

    def check(self) -> Sequence[str]:
        """Let SQLite check its own structures, and the index."""
        found = self.run([("PRAGMA integrity_check", ()), ("PRAGMA foreign_key_check", ())], write=False)
        told = [f"SQLite: {row[0]}" for row in found[0] if row[0] != "ok"]
        told += [f"{table}: row {row} belongs to no session." for table, row, *_ in found[1]]
        if not told:
            try:
                self.run([("INSERT INTO found (found, rank) VALUES ('integrity-check', 1)", ())])
            except StoreError as error:
                match getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF:
                    case sqlite3.SQLITE_CORRUPT:
                        told.append("The index of words doesn't fit the messages.")
                    case sqlite3.SQLITE_READONLY:
                        pass  # the index alone is checked by what may write
                    case _:
                        raise
        return told

    def close(self) -> None:
        """Close the file; may be called more than once."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def __del__(self) -> None:
        self._disconnect()

    # -- the connection

    def _prepare_to_write(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        self._check_file()
        if durable != self._durable:
            self._durable = None  # until it is said
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _check_file(self) -> None:
        if (found := _identity(self.name)) != self._file:
            raise StoreError(
                f"{self.path} {'is gone' if found is None else 'is another file now'}: it was deleted, moved or "
                "replaced while it was open. Nothing was stored; open the store again."
            )

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise closed(self.name)
        if self._connection is not None and self._pid != os.getpid() and not self.memory:
            raise StoreError(
                f"{self.name} was opened before a fork that Python knew nothing of; open it after."
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
        if not self.memory:
            self._look_at_path()
        connection = sqlite3.connect(
            str(self.path),
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            self._prepare(connection)
            (store,) = connection.execute("SELECT store FROM meta").fetchone()
            self._file = None if self.memory else _identity(self.name)
            self.identity = (store, self._file)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_at_path(self) -> None:
        """Raise if there can't be a file of ours; at first in a mode in which SQLite can't change anything.

        Reading its first bytes without SQLite would drop the locks that this process has on it. That mode takes
        no locks either, and doesn't look into `-wal`: a file that another process is just making longer, or was
        killed while it did, looks damaged. SQLite itself sees it whole.
        """
        if not self.path.parent.is_dir():
            raise StoreError(
                f"There is no folder {self.path.parent}: make it, then open {self.path.name} in it."
            )
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder: give the path of a file.")
        if self._file is not None:  # open before: what is there now must still be that
            self._check_file()
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        mode = "mode=ro&immutable=1"
        for left in reversed(range(_LOOKS)):
            try:
                uri = f"{self.path.as_uri()}?{mode}"
                with closing(sqlite3.connect(uri, uri=True, timeout=self._busy_timeout)) as connection:
                    Tables(self.path, connection).noted_version()
                return
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT or not left:
                    raise
            mode = "mode=rw"
            time.sleep(0.01)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.text_factory = _text
        connection.create_function("gone", 2, _gone)
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # of a new file
        migrate(Tables(self.path, connection))
        connection.execute("PRAGMA foreign_keys = ON")
        if not self.memory:
            self._use_wal(connection)
        connection.text_factory = str

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

    def _in_words(self, error: Exception) -> StoreError:
        """Make the StoreError of what SQLite or the system raised."""
        match error:
            case sqlite3.Error():
                return StoreError(f"{self.name} {self._explain(error)}.")
            case OSError():
                return StoreError(f"{self.name} can't be opened: {error.strerror}.")
            case _:
                return StoreError(f"{self.name} is damaged: what SQLite says of it can't be read ({error}).")

    def _explain(self, error: sqlite3.Error) -> str:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the rest of the bits are details
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return (
                    f"is locked: somebody else has been writing to it for {self._busy_timeout:g} s (busy_timeout). "
                    "Nothing was stored; try again"
                )
            case sqlite3.SQLITE_FULL:
                return "can't grow, the disk is full. Nothing was stored, and what was before stays"
            case sqlite3.SQLITE_IOERR:
                return f"can't be read or written ({error}): the disk, or what this user may have of it, may be full"
            case sqlite3.SQLITE_READONLY:
                return "is read-only, or its folder is: SQLite has to write in both"
            case sqlite3.SQLITE_CANTOPEN:
                return "can't be opened: this user has to be able to read and write it and its folder"
            case sqlite3.SQLITE_NOTADB:
                return "is not an SQLite database, or its beginning is damaged; it was left as it is"
            case sqlite3.SQLITE_CORRUPT:
                return f"is damaged: {error}. Take a copy from before; `check()` tells what is wrong"
            case sqlite3.SQLITE_CONSTRAINT if "sender_id" in str(error):
                return "has a message of this sender's id in this session already: nothing was stored"
            case _:
                return f"can't be used: {error}"


def _send(connection: sqlite3.Connection, begin: str, statements: Sequence[Statement]) -> list[list[Any]]:
    try:
        connection.execute(begin)
        found = []
        for text, values in statements:
            cursor = connection.execute(filled(text), values)
            found.append(cursor.fetchall() or [()] * cursor.rowcount)
        connection.execute("COMMIT")
        return found
    except BaseException:
        with suppress(sqlite3.Error):
            connection.rollback()
        raise


@lru_cache(maxsize=4)
def _described(owner: Owner) -> str:
    return json.dumps([owner.host, owner.pid, owner.started])[1:-1]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - before each write
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _text(raw: bytes) -> str | bytes:
    """Decode a text; one that is damaged stays bytes, so that its row can be named."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _read_owner(owner: str | bytes) -> tuple[float, Owner] | None:
    """Read what `SQLite.owner` wrote: when, and who; None if it is damaged."""
    try:
        match parse(owner):
            case [float() as taken, str() as host, int() as pid, str() as started] if 0 < pid < 2**31:
                return taken, Owner(host, pid, started)
    except ValueError:
        pass
    return None


def _gone(owner: bytes, updated: float) -> bool:
    """Return whether the process that has a lease has ended, as SQL asks it; one that can't be read has.

    Of one that can't be seen, by the time that it took the lease or stored something; a time that is still to come is
    of a clock that was put back since, and as far away.
    """
    if (found := _read_owner(owner)) is None:
        return True
    (taken, who), now = found, time.time()
    alive = who.alive()
    return min(abs(now - taken), abs(now - updated)) >= _UNSEEN if alive is None else not alive


_FILES: weakref.WeakSet[SQLite] = weakref.WeakSet()
_FILES_LOCK = threading.RLock()
_forking: list[SQLite] = []


def _before_fork() -> None:
    _FILES_LOCK.acquire()
    for file in list(_FILES):
        file._lock.acquire()
        _forking.append(file)
        if not file.memory:
            file._disconnect()


def _after_fork() -> None:
    while _forking:
        _forking.pop()._lock.release()
    _FILES_LOCK.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
