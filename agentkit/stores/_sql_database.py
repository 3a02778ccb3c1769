"""The database of a `SQLStore`: its connections, transactions on it, and what went wrong in words."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from agentkit.errors import AgentError, ConfigurationError, StoreError, StoreVersionError
from agentkit.stores._sql_rows import Rows
from agentkit.stores._sql_schema import MIGRATIONS, migrate, schema_version
from agentkit.stores.sql import UnknownOutcome

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
}
_MIGRATING = 0x616B6974_6D696772  # the key of an advisory lock: "akitmigr"
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's settings to notice within half a minute that the server is gone, or the way to it."""
_ABANDONED: list[Any] = []
"""Connections that a fork copied: they are the parent's, and to close them here would end them there."""


class Database:
    """Connections to a database, for all threads; what fails on them is a StoreError without a password."""

    def __init__(self, url: str | sa.URL, timeout: float) -> None:
        self.url = _checked(url)
        self.postgres = self.url.get_backend_name() == "postgresql"
        self.name = _shown(self.url)
        self._timeout = timeout
        self._open: dict[int, Any] = {}
        self._closed = False
        self._thread = threading.local()
        self.when_forked: list[Callable[[], None]] = []
        """Called in the child."""
        try:
            self.engine = self._make_engine()
        except (sa.exc.SQLAlchemyError, ImportError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"SQLStore({self.name!r}): {type(error).__name__} while the driver was loaded; for PostgreSQL, "
                'pip install "agentkit[postgres]".'
            ) from error
        reading, writing = ("REPEATABLE READ", "READ COMMITTED") if self.postgres else ("SERIALIZABLE",) * 2
        self._reader = self.engine.execution_options(isolation_level=reading)
        self._writer = self.engine.execution_options(isolation_level=writing, agentkit_writes=True)
        with _DATABASES_LOCK:
            _DATABASES.add(self)
        self._migrate()

    # -- transactions

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        """Open a transaction that sees one instant."""
        with self.in_words(), self._connect(self._reader) as connection:
            yield Rows(connection)

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """Open a transaction that may write: stored when it ends, or nothing of it if it raises.

        Raises:
            UnknownOutcome: It can't be said whether it was stored.
        """
        if getattr(self._thread, "writes", False):  # it would wait for itself
            raise StoreError(
                f"{self.name} can't be written to here: what runs now (a signal's handler, or the end of an object "
                "that nobody closed) came in the middle of a transaction of its own thread. Nothing was done."
            )
        try:
            self._thread.writes = True
            with self.in_words(), self._connect(self._writer) as connection:
                yield Rows(connection)
                self._commit(connection)
        finally:
            self._thread.writes = False

    def _commit(self, connection: sa.Connection) -> None:
        try:
            connection.commit()
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise UnknownOutcome(
                    f"{self.name} was lost while a change was being made durable: it isn't known whether "
                    f"it was stored ({_said(error.orig)})."
                ) from error
            raise

    def connect_alone(self) -> sa.Connection:
        """Open a connection of its own, outside the pool, where each statement is a transaction."""
        connection = self._connect(self.engine.execution_options(isolation_level="AUTOCOMMIT"))
        connection.detach()
        return connection

    def close(self) -> None:
        """Close the connections for good; may be called more than once."""
        self._closed = True
        self.engine.dispose()

    def _connect(self, engine: sa.Engine) -> sa.Connection:
        if self._closed:
            raise StoreError(f"The store {self.name} is closed.")
        return engine.connect()

    # -- opening

    def _make_engine(self) -> sa.Engine:
        settings: dict[str, Any] = {"timeout": self._timeout}
        if self.postgres:
            settings = {"connect_timeout": max(2, round(self._timeout))} | _KEEPALIVES
            settings = {name: value for name, value in settings.items() if name not in self.url.query}
        engine = sa.create_engine(
            self.url,
            connect_args=settings,
            hide_parameters=True,  # what is said in chats is in no error's text
            pool_pre_ping=self.postgres,
            pool_timeout=self._timeout,
        )
        sa.event.listen(engine, "connect", self._connected)
        for name in ("close", "close_detached"):
            sa.event.listen(engine, name, self._disconnected)
        if not self.postgres:
            sa.event.listen(engine, "begin", _begin)
        return engine

    def _connected(self, connection: Any, record: Any) -> None:  # noqa: ARG002
        self._open[id(connection)] = connection
        if self.postgres:
            connection.autocommit = True
            if "lock_timeout" not in str(self.url.query.get("options", "")):
                connection.execute(f"SET lock_timeout = {round(self._timeout * 1000)}")
            connection.autocommit = False
        else:
            connection.isolation_level = (
                None  # transactions begin where `_begin` says, not where the driver guesses
            )
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            try:
                connection.execute("PRAGMA journal_mode = WAL")  # stays so in the file
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # another process is just doing it
                    raise

    def _abandon(self) -> None:
        """Let go, in a process that a fork made, of the connections that are the parent's."""
        if self.postgres:
            # Were they open here too, the server wouldn't notice that the parent has ended.
            nowhere = os.open(os.devnull, os.O_RDWR)
            for connection in self._open.values():
                os.dup2(nowhere, connection.pgconn.socket, inheritable=False)
            os.close(nowhere)
        _ABANDONED.extend(self._open.values())
        self._open = {}
        self.engine.dispose(close=False)
        for forget in self.when_forked:
            forget()

    def _disconnected(self, connection: Any, *record: Any) -> None:  # noqa: ARG002
        self._open.pop(id(connection), None)

    def _migrate(self) -> None:
        try:
            with self.in_words(), self._connect(self._reader) as connection:
                version = schema_version(connection)
                if (
                    self.postgres
                    and (encoding := connection.scalar(sa.text("SHOW server_encoding"))) != "UTF8"
                ):
                    raise ConfigurationError(
                        f"{self.name} can't hold every text: its encoding is {encoding}. Make a database WITH "
                        "ENCODING 'UTF8'."
                    )
            if version < len(MIGRATIONS):
                with self.in_words(), self._connect(self._writer) as connection, connection.begin():
                    if self.postgres:  # others that start now wait here, as on SQLite they do at BEGIN
                        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
                    migrate(connection, version := schema_version(connection))
            if version > len(MIGRATIONS):
                raise StoreVersionError(
                    f"{self.name} was written by a newer agentkit (schema {version}; this one knows "
                    f"{len(MIGRATIONS)}); it was left as it is. Upgrade agentkit."
                )
        except BaseException:
            self.close()
            raise

    # -- errors

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn what SQLAlchemy raises, and what rows raise that can't be read, into StoreErrors."""
        try:
            yield
        except AgentError:
            raise
        except sa.exc.DBAPIError as error:
            raise StoreError(
                f"{self.name} {self._explain(error.orig, error.connection_invalidated)}."
            ) from error
        except sa.exc.TimeoutError as error:
            raise StoreError(
                f"{self.name} is busy: all connections of this process were in use for {self._timeout:g} s."
            ) from error
        except (TypeError, ValueError, LookupError) as error:
            raise StoreError(f"{self.name} is damaged: a row of it can't be read ({error}).") from error

    def _explain(self, error: Any, lost: bool) -> str:
        said = _said(error)
        if not self.postgres:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest of the bits are details
            return f"{_SQLITE.get(code, 'is unusable')} ({said})"
        state = getattr(error, "sqlstate", None) or ""
        for prefix, what in _STATES.items():
            if state.startswith(prefix):
                return f"{what} ({said})"
        if state:
            return f"can't be used: {said}"
        if "FATAL" in said:
            return f"refused the connection: {said}"
        if lost:
            return f"was lost: the connection ended. Nothing was stored; try again ({said})"
        return f"can't be reached. Is the server running, and is the address right? ({said})"


_STATES = {
    "57014": "took too long: the statement was cancelled. Nothing was stored",
    "57": "was lost: the server ended the connection. Nothing was stored; try again",
    "08": "was lost: the connection ended. Nothing was stored; try again",
    "55P03": "is locked: somebody else has held a row for too long. Nothing was stored; try again",
    "25006": "is read-only: this may be a standby server",
    "53100": "can't grow, the server's disk is full. Nothing was stored, and what was before stays",
    "3F": "has no schema for the tables: is the first one of the search_path there, and may this user use it?",
    "42501": "doesn't let this user do it: it must own the tables agentkit_*, or be allowed to make them",
}
"""What PostgreSQL's error codes mean here (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_SQLITE = {
    5: "is locked: somebody else has been writing to it for too long. Nothing was stored; try again",
    8: "is read-only, or its folder is: SQLite has to write in both",
    10: "can't be read or written. Is the disk full, or a quota used up?",
    11: "is damaged",
    13: "can't grow, the disk is full. Nothing was stored, and what was before stays",
    14: "can't be opened. Is it a file in a folder that exists, and may this user read and write both?",
    26: "is not an SQLite database, or its beginning is damaged; it was left as it is",
}
"""What SQLite's error codes mean here (https://sqlite.org/rescode.html)."""


def _said(error: Any) -> str:
    """Give the driver's own words, on one line; PostgreSQL's details are left out, for they quote rows."""
    said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__


def _checked(url: str | sa.URL) -> sa.URL:
    """Read a URL; the errors don't show it, for it may hold a password."""
    mend = (
        "give postgresql+psycopg://user:password@host/database or sqlite:///file; in the password, write "
        "each of @ : / % as %40 %3A %2F %25."
    )
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError, TypeError, AttributeError):
        raise ConfigurationError(f"SQLStore: this is no URL of a database: {mend}") from None
    if "@" in (parsed.host or ""):
        raise ConfigurationError(f"SQLStore: there are two @ in the URL: {mend}")
    if parsed.drivername not in _DRIVERS:
        raise ConfigurationError(f"SQLStore doesn't know {parsed.drivername}://: {mend}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("SQLStore('sqlite://'): give the path of a file, or use MemoryStore().")
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _shown(url: sa.URL) -> str:
    """Name a database for people: no password, no settings (they may hold one)."""
    return url.set(query={}).render_as_string(hide_password=True)


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("agentkit_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()
_DATABASES_LOCK = threading.RLock()


def _before_fork() -> None:
    _DATABASES_LOCK.acquire()
    for database in list(_DATABASES):
        # SQLite's connections must not be copied (https://sqlite.org/howtocorrupt.html, 2.6): none is idle now.
        if not database.postgres:
            database.engine.dispose()


def _after_fork_in_child() -> None:
    _DATABASES_LOCK.release()
    for database in list(_DATABASES):
        database._abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_DATABASES_LOCK.release,
        after_in_child=_after_fork_in_child,
    )
