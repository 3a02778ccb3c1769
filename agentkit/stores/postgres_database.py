"""The database of a `PostgresStore`: psycopg 3, its pool, and the connection that holds the leases."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import FloatDumper, Int8Dumper
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from agentkit.errors import AgentError, ConfigurationError, StoreError
from agentkit.stores.dialect import UnknownOutcome, closed, in_midst
from agentkit.stores.migrations import migrate
from agentkit.stores.postgres_tables import Tables, filled
from agentkit.stores.postgres_words import explain, passes, read_url, words_of
from agentkit.stores.rows import Statement
from agentkit.stores.schema import exact

_CONNECTIONS = 15
_LISTENING = 4
"""How many of the connections may wait for other processes; who comes then looks again after a while."""
_HOW: dict[str, Any] = {"autocommit": True, "cursor_factory": psycopg.RawCursor, "prepare_threshold": 1}
"""How connections are made."""
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's settings to notice within half a minute that the server is gone, or the way to it."""


class Postgres:
    """A few connections, for all threads; each list of statements is one round trip and one transaction.

    All leases of a store are one advisory lock, which the server ends with the connection that holds it; its number
    is what the rows of sessions have as `owner`. See `Dialect`.
    """

    def __init__(self, url: str, timeout: float, reconnect_timeout: float) -> None:
        self._params = {"connect_timeout": max(2, round(timeout)), **_KEEPALIVES, **read_url(url)}
        shown = {name: self._params.get(name, "") for name in ("user", "host", "port", "dbname")}
        self.name = "postgresql://{user}@{host}:{port}/{dbname}".format(**shown)
        self._timeout = timeout
        self._reconnect_timeout = reconnect_timeout
        self._closed = False
        self._start_anew()
        with self._in_words():
            self.identity: Hashable = self._prepare(time.monotonic() + reconnect_timeout)
        with _OPEN_LOCK:
            _OPEN.add(self)

    def _prepare(self, until: float) -> Hashable:
        """Make the tables what they are now, and return the store's own number; a server that is away is waited for."""
        while True:
            with self._connect_again(until) as db:
                try:
                    self._refuse_pooler(db)
                    if (encoding := db.info.parameter_status("server_encoding")) != "UTF8":
                        raise ConfigurationError(
                            f"{self.name} can't hold every text: its encoding is {encoding}. Make a database WITH "
                            "ENCODING 'UTF8'."
                        )
                    migrate(Tables(self.name, db))
                    return db.execute(b"SELECT store FROM agentkit_meta").fetchone()
                except psycopg.OperationalError:  # what was done stays, and is gone on from
                    if not db.closed or time.monotonic() >= until:
                        raise

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()
        self._lease: psycopg.Connection[Any] | None = None
        self._key = secrets.randbits(62)
        self._listening = threading.BoundedSemaphore(_LISTENING)
        self._pool: ConnectionPool[psycopg.Connection[Any]] | None = None
        self._thread = threading.local()

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
        """Run statements in one transaction and one round trip; see `Dialect.run`.

        A server that is away is waited for, up to `reconnect_timeout`.
        """
        if getattr(self._thread, "runs", False):  # it could wait for itself
            raise in_midst(self.name)
        until = time.monotonic() + (self._reconnect_timeout if patient else 0)
        self._thread.runs = True
        try:
            if write and self._lease is not None:
                self._hold_lock(until)  # taken anew, if its connection was lost
            while True:
                with self._in_words(), self._connection(until) as db:
                    try:
                        return _send(db, statements, write=write)
                    except psycopg.OperationalError as error:
                        if not db.closed:
                            raise
                        if write and not again:
                            raise self._unknown(words_of(error)) from None
        finally:
            self._thread.runs = False

    def owner(self) -> str:
        """Name the lock of this store, which is held as long as the process lives; take it if it isn't."""
        self._hold_lock(time.monotonic() + self._reconnect_timeout)
        return str(self._key)

    def holder(self, owner: str) -> str:
        """Say who has a lease, as far as that is known."""
        return "another thread or task of this process" if owner == str(self._key) else "another process"

    def wait(self, id: str, seconds: float) -> None:
        """Wait until another process tells that it has left a session (NOTIFY), at most so long.

        A process that was killed can't tell; so it is at most a second or so.
        """
        seconds = min(seconds, random.uniform(0.8, 1.2))
        if not self._listening.acquire(blocking=False):
            time.sleep(min(seconds, 0.25))
            return
        text = "UPDATE {p}sessions SET waited = 1 WHERE id = ? AND owner IS NOT NULL"
        try:
            with self._in_words(), self._connection(time.monotonic() + seconds) as db:
                db.execute(b"LISTEN agentkit")
                try:
                    if _send(db, [(text, (exact(id),))], write=True)[0]:
                        for _ in db.notifies(timeout=seconds, stop_after=1):
                            pass
                finally:
                    db.execute(b"UNLISTEN *")
        finally:
            self._listening.release()

    def query(self, words: Sequence[str]) -> str:
        """Ask for all words."""
        return " & ".join(f"'{word[:-1]}':*" if word[-1] == "*" else f"'{word}'" for word in words)

    def hits(self, among: str) -> str:
        """Ask the index of words or, where these are fewer, the messages of `among`.

        Without the `+`, the server goes through all messages from the newest on until there are enough.
        """
        if not among:
            return "SELECT id FROM agentkit_messages WHERE words @@ ?::tsquery"
        return f"SELECT +id AS id FROM agentkit_messages WHERE words @@ ?::tsquery AND id IN ({among})"

    def check(self) -> Sequence[str]:
        """Nothing: the server checks its own structures."""
        return ()

    def close(self) -> None:
        """Close the connections; may be called more than once."""
        self._closed = True
        with self._lock:
            if self._lease is not None:
                self._lease.close()
            if self._pool is not None:
                self._pool.close()

    # -- connections

    def _connect(self) -> psycopg.Connection[Any]:
        db: psycopg.Connection[Any] = psycopg.connect(make_conninfo(**self._params), **_HOW)
        self._configure(db)
        return db

    def _configure(self, db: psycopg.Connection[Any]) -> None:
        db.prepared_max = 200
        db.adapters.register_dumper(
            int, Int8Dumper
        )  # one type for all: else each size is a statement of its own
        db.adapters.register_dumper(float, FloatDumper)
        if "lock_timeout" not in str(self._params.get("options", "")):
            db.execute(f"SET lock_timeout = {round(self._timeout * 1000)}".encode())
        self._all.add(db)

    def _opened(self) -> ConnectionPool[psycopg.Connection[Any]]:
        with self._lock:
            if self._closed:
                raise closed(self.name)
            if self._pool is None:
                self._pool = ConnectionPool(
                    make_conninfo(**self._params),
                    kwargs=_HOW,
                    configure=self._configure,
                    check=_refuse_lost,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    reconnect_timeout=0,  # this class waits, and tells why
                    num_workers=1,
                    open=True,
                    name="agentkit",
                )
            return self._pool

    @contextmanager
    def _connection(self, until: float) -> Iterator[psycopg.Connection[Any]]:
        pool, began, db = self._opened(), time.monotonic(), None
        while db is None:
            try:
                db = pool.getconn(timeout=0.5)
            except PoolTimeout:
                self._explain_waiting(pool, began, until)
            except PoolClosed:
                raise closed(self.name) from None
        try:
            yield db
        except BaseException:  # what is prepared on it isn't known any more
            db.close()
            raise
        finally:
            pool.putconn(db)

    def _explain_waiting(self, pool: ConnectionPool[Any], began: float, until: float) -> None:
        """Find out why there is no connection, and wait for a server that is away; raise if that took too long."""
        if pool.get_stats()["pool_size"] >= _CONNECTIONS:
            if time.monotonic() - began >= self._timeout:
                raise StoreError(
                    f"{self.name} is busy: all connections of this process were in use for {self._timeout:g} s."
                )
            return
        self._connect_again(until).close()

    def _connect_again(self, until: float) -> psycopg.Connection[Any]:
        """Connect to a server that may be away for a while."""
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError as error:
                if not passes(error) or time.monotonic() >= until:
                    raise
            time.sleep(0.2)

    def _hold_lock(self, until: float) -> None:
        """Take the lock of this store's leases, if it isn't held."""
        with self._lock, self._in_words():
            if self._closed:
                raise closed(self.name)
            while self._lease is None or _is_lost(self._lease):
                try:
                    self._lease = self._take_lock(self._connect_again(until))
                except psycopg.OperationalError:
                    if time.monotonic() >= until:
                        raise

    def _take_lock(self, db: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        try:
            db.execute(b"SET idle_session_timeout = 0")
            self._refuse_pooler(db)
            taken = db.execute(b"SELECT pg_try_advisory_lock($1)", (self._key,)).fetchone()
            if taken != (True,):  # the server hasn't noticed yet that the connection which held it is lost
                self._key = secrets.randbits(62)
                db.execute(b"SELECT pg_advisory_lock($1)", (self._key,))
        except BaseException:
            db.close()
            raise
        return db

    def _refuse_pooler(self, db: psycopg.Connection[Any]) -> None:
        """Raise ConfigurationError if a connection isn't served by one process of the server, as a session is."""
        if (first := _pid(db)) == db.info.backend_pid:  # nobody stands between
            return
        with self._connect() as other:
            # A pool gives out the connection that was used last, or longest ago; more than once, for others use it too.
            if any(first in (_pid(other), _pid(other)) or _pid(db) != first for _ in range(3)):
                raise ConfigurationError(
                    f"{self.name} is a pooler that gives each transaction another connection (PgBouncer's "
                    "pool_mode=transaction, say): a session's lock can't be held through it. Connect to the server "
                    "itself, or to a pool in session mode."
                )

    def _abandon(self) -> None:
        """Let go, in a process that a fork made, of the connections that are the parent's.

        Were they open here too, the server wouldn't notice that the parent has ended; and to close them here would
        end them there.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for db in self._all:
            if not db.closed:
                os.dup2(nowhere, db.pgconn.socket, inheritable=False)
        os.close(nowhere)
        _ABANDONED.extend([*self._all, self._pool])
        self._start_anew()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn what psycopg raises into StoreErrors without a password."""
        try:
            yield
        except AgentError as error:
            if isinstance(error.__context__, psycopg.Error):
                error.__context__ = None
            raise
        except psycopg.Error as error:
            raised: StoreError = StoreError(self._scrubbed(f"{self.name} {explain(error)}."))
        else:
            return
        try:
            raise raised
        finally:
            # The chain ends here: the exceptions below hold the connection, and that holds the password.
            raised.__context__ = None

    def _unknown(self, said: str) -> UnknownOutcome:
        what = f"{self.name} was lost while a change was being made durable: it isn't known whether it was stored"
        return UnknownOutcome(self._scrubbed(f"{what} ({said})."))

    def _scrubbed(self, text: str) -> str:
        password = str(self._params.get("password") or "")
        return text.replace(password, "[secret]") if len(password) >= 4 else text


def _send(db: psycopg.Connection[Any], statements: Sequence[Statement], *, write: bool) -> list[list[Any]]:
    if len(statements) == 1:  # a transaction of its own
        text, values = statements[0]
        return [_rows(db.execute(filled(text), values))]
    with db.pipeline():
        db.execute(b"BEGIN" if write else b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursors = [db.execute(filled(text), values) for text, values in statements]
        db.execute(b"COMMIT")
    return [_rows(cursor) for cursor in cursors]


def _rows(cursor: psycopg.Cursor[Any]) -> list[Any]:
    return cursor.fetchall() if cursor.description else [()] * cursor.rowcount


def _is_lost(db: psycopg.Connection[Any]) -> bool:
    """Return whether the server has ended a connection, as far as is known without asking it."""
    try:
        _refuse_lost(db)
    except psycopg.OperationalError:
        db.close()
    return db.closed


def _refuse_lost(db: psycopg.Connection[Any]) -> None:
    for _ in range(2):  # its last words may be there to read before its end is
        db.pgconn.consume_input()


def _pid(db: psycopg.Connection[Any]) -> int:
    row = db.execute(b"SELECT pg_backend_pid()").fetchone()
    return row[0] if row else 0


_OPEN: weakref.WeakSet[Postgres] = weakref.WeakSet()
_OPEN_LOCK = threading.RLock()
_ABANDONED: list[Any] = []


def _after_fork_in_child() -> None:
    _OPEN_LOCK.release()
    for database in list(_OPEN):
        database._abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(
        before=_OPEN_LOCK.acquire,
        after_in_parent=_OPEN_LOCK.release,
        after_in_child=_after_fork_in_child,
    )
