"""Chats kept in a database: `SQLStore`, on SQLAlchemy, for PostgreSQL and SQLite."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from agentkit.errors import ConfigurationError, StoreError
from agentkit.stores._values import (
    check_id,
    check_numbers,
    check_results,
    first_version,
    session_busy,
    session_lost,
    sum_usage,
)
from agentkit.stores.base import Hit, SessionInfo, Step, StoredMessage, StoredResult, StoredSession

if TYPE_CHECKING:
    import sqlalchemy

    from agentkit.stores._sql_leases import Lease, Leases


class UnknownOutcome(StoreError):
    """The connection was lost when a transaction was to be made durable: it may or may not have been."""


class SQLStore:
    """Keeps sessions in a database, in tables `agentkit_*`. See `SessionStore` for the methods.

    Any number of threads, processes and machines may share it. Its methods block; asynchronous callers run
    them in threads, as `agent.aio` does, so there is no second, asynchronous store. What is appended is durable
    when `append` returns, as far as the server's `synchronous_commit` says so.

    A writer on PostgreSQL holds an advisory lock: a process that ends frees it at once, one that lives keeps it
    as long as its connection to the server. If that breaks off, or the server restarts, the lock is taken
    again; should another writer come first, this one's next step is a SessionConflict. A store needs one
    connection for the locks of all its writers, and up to 15 for short transactions. A pooler between that
    gives each transaction another connection (PgBouncer's `transaction` mode) loses track of such locks:
    connect to the server itself, or through a pool in `session` mode.

    Searching finds the text that people read, the first 400 kB of a message. Words are compared without regard
    to case and accents; a run of Chinese or Japanese characters without spaces counts as one word.

    Args:
        url: `postgresql+psycopg://user:password@host/database` or `sqlite:///file`. No error or repr shows the
            password. The tables are made in the first schema of the user's `search_path`.
        timeout: Seconds to wait for a connection, and for locks that others hold for the length of a step.

    Raises:
        ConfigurationError: The URL is wrong, or SQLAlchemy or the driver isn't installed.
        StoreError: The database can't be reached or used.
        StoreVersionError: A newer agentkit wrote it.
    """

    def __init__(self, url: str | sqlalchemy.URL, *, timeout: float = 10.0) -> None:
        try:
            from agentkit.stores._sql_database import Database
            from agentkit.stores._sql_leases import AdvisoryLeases, OwnerLeases
        except ImportError as error:
            raise ConfigurationError(
                f'SQLStore needs SQLAlchemy 2 ({error}): pip install "agentkit[postgres]".'
            ) from error
        self._database = database = Database(url, timeout)
        self._leases: Leases = AdvisoryLeases(database) if database.postgres else OwnerLeases(database)

    def __repr__(self) -> str:
        return f"SQLStore({self._database.name!r})"

    def create(
        self,
        id: str,  # noqa: A002 - what it is
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires: float | None = None,
        parent: str | None = None,
        messages: Sequence[StoredMessage] = (),
        results: Sequence[StoredResult] = (),
    ) -> SessionInfo:
        """Make a session; see `SessionStore.create`."""
        check_id(id)
        check_numbers(messages)
        check_results(results, len(messages))
        now = time.time()
        info = SessionInfo(
            id=id,
            created=now,
            updated=now,
            version=first_version(),
            messages=len(messages),
            usage=sum_usage(message.usage for message in messages),
            title=title,
            model=model,
            instructions=instructions,
            expires=expires,
            parent=parent,
        )
        with self._database.writing() as rows:
            rows.create(info, messages, results)
        return info

    def load(self, id: str) -> StoredSession:  # noqa: A002
        """Read a session. Raises SessionNotFound."""
        with self._database.reading() as rows:
            return rows.load(id)

    def info(self, id: str) -> SessionInfo:  # noqa: A002
        """Read what is known of a session without its messages. Raises SessionNotFound."""
        with self._database.reading() as rows:
            return rows.info(id)

    def result(self, id: str, result_id: str) -> str | None:  # noqa: A002
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        with self._database.reading() as rows:
            return rows.result(id, result_id)

    def results(self, id: str) -> Sequence[StoredResult]:  # noqa: A002
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        with self._database.reading() as rows:
            return rows.results(id)

    def write(self, id: str, *, wait: float = 0.0) -> _Writer:  # noqa: A002
        """Become the writer of a session; see `SessionStore.write`."""
        until, pause = time.monotonic() + wait, 0.005
        while isinstance(taken := self._leases.take(id), str):
            left = until - time.monotonic()
            if left <= 0:
                raise session_busy(id, taken)
            time.sleep(min(pause * random.uniform(0.5, 1), left))  # noqa: S311 - so that not all ask at once
            pause = min(pause * 1.5, 0.25)
        lease, info = taken
        try:
            return _Writer(self, lease, info)
        except BaseException:  # an interrupt
            self._leases.dropped.append(lease)
            raise

    def list(self, *, limit: int = 50, after: SessionInfo | None = None) -> Sequence[SessionInfo]:
        """List sessions, the last updated first; `after` is the last one of the page before."""
        with self._database.reading() as rows:
            return rows.list(max(0, limit), after)

    def search(self, text: str, *, limit: int = 20) -> Sequence[Hit]:
        """Find messages that have all the words of `text`.

        Best first, by `ts_rank` of PostgreSQL's full text search. On SQLite the newest first, and all messages
        are read: `SQLiteStore` has an index.
        """
        with self._database.reading() as rows:
            return rows.search(text, max(0, limit))

    def rename(self, id: str, title: str | None) -> None:  # noqa: A002
        """Give a session a title. Raises SessionNotFound."""
        with self._database.writing() as rows:
            rows.update(id, title=title, updated=time.time())

    def expire(self, id: str, at: float | None) -> None:  # noqa: A002
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        with self._database.writing() as rows:
            rows.update(id, expires=at)

    def delete(self, id: str) -> None:  # noqa: A002
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        with self._database.writing() as rows:
            rows.delete(id)

    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        with self._database.writing() as rows:
            return rows.delete_expired(now)

    def close(self) -> None:
        """Release this store's writers and close the connections. What was stored stays."""
        self._leases.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class _Writer:
    """The writer of a session in a database; see `SessionWriter`."""

    _lease: Lease | None = None

    def __init__(self, store: SQLStore, lease: Lease, info: SessionInfo) -> None:
        self.info = info
        self._database = store._database
        self._leases = store._leases
        self._fence = lease.token
        self._pid = os.getpid()
        self._lease = lease  # the last, so that `__del__` finds the rest

    def load(self) -> StoredSession:
        """Read the session."""
        with self._database.reading() as rows:
            return rows.load(self.info.id)

    def append(self, steps: Sequence[Step]) -> None:
        """Store steps, all or none of them; see `SessionWriter.append`.

        Raises:
            StoreError: Also if the connection ended just when the steps were made durable and the server can't
                be asked whether they were; the message says so. To append the same steps again is safe then:
                if they were stored after all, it is a SessionConflict.
        """
        if self._lease is None or self._pid != os.getpid():  # the parent's, after a fork
            raise session_lost(self.info.id)
        fence = secrets.token_hex(16)
        try:
            with self._database.writing() as rows:
                rows.append(self.info.id, self._fence, fence, steps)
        except UnknownOutcome as error:
            self._ask(fence, error)
        self._fence = fence

    def _ask(self, fence: str, unknown: UnknownOutcome) -> None:
        """Return if the steps were stored that would have put `fence` in place; else raise."""
        try:
            with self._database.writing() as rows:  # waits until the server is done with the lost transaction
                found = rows.fence(self.info.id)
        except StoreError:
            raise unknown from None
        if found == self._fence:
            raise StoreError(
                f"{self._database.name} lost the connection. Nothing was stored; try again."
            ) from unknown
        if found != fence:
            raise session_lost(self.info.id)

    def release(self) -> None:
        """Let others write."""
        if self._lease is not None and self._pid == os.getpid():
            with suppress(StoreError):
                self._leases.give_back(self._lease)
        self._lease = None  # not before: an interrupt would leave the lease to nobody

    def __del__(self) -> None:
        if self._lease is not None and self._pid == os.getpid():
            # Not given back right now: whoever collects this may be in the middle of a transaction.
            self._leases.dropped.append(self._lease)
