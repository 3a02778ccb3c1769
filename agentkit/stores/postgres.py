"""Chats kept in PostgreSQL: `PostgresStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.errors import ConfigurationError, how_to_install
from agentkit.stores.store import Store
from agentkit.wire.arguments import checked

if TYPE_CHECKING:
    from agentkit.stores.postgres_database import Postgres


class PostgresStore(Store):
    """Keeps sessions in PostgreSQL, in tables `agentkit_*`. See `SessionStore` for the methods.

    Any number of threads, processes and machines may share it. Its methods block; asynchronous callers run
    them in threads, as `agent.aio` does, so there is no second, asynchronous store. What is appended is durable
    when `append` returns, as far as the server's `synchronous_commit` says so.

    The writers of a store hold an advisory lock: a process that ends frees it at once, one that lives keeps it
    as long as its connection to the server. If that breaks off, or the server restarts, the lock is taken
    again; should another writer come first, this one's next step is a SessionConflict. A store needs one
    connection for the lock, and up to 15 for short transactions.

    PgBouncer in front works with `pool_mode=session` and a pool that is large enough (16 connections for each store).
    In its modes `transaction` and `statement` each transaction gets another connection, with which neither a lock nor
    a prepared statement stays: that is a ConfigurationError when the store is opened.

    A server that is away for a while is waited for, also when the store is opened. No step is stored twice meanwhile.

    Searching finds the text that people read: no thoughts, calls or responses. Words are compared without regard to
    case, accents and ligatures; in scripts without spaces, a word inside a sentence is found. Of a message, the first
    megabyte of different words is searched.

    Args:
        url: `postgresql://user:password@host/database`. No error or repr shows the password. The tables are made in
            the first schema of the user's `search_path`.
        timeout: Seconds to wait for a connection that is free, and for locks that others hold for the length of a
            step.
        reconnect_timeout: Seconds to wait for a server that can't be reached, or not any more.

    Raises:
        ConfigurationError: The URL is wrong, a pooler is in the way, or psycopg isn't installed.
        StoreError: The database can't be reached or used.
        StoreVersionError: A newer agentkit wrote it.
    """

    _db: Postgres

    @checked
    def __init__(self, url: str, *, timeout: float = 10.0, reconnect_timeout: float = 60.0) -> None:
        try:
            from agentkit.stores.postgres_database import Postgres
        except ImportError as error:
            raise ConfigurationError(
                f"PostgresStore needs psycopg 3 and psycopg_pool ({error}): {how_to_install('postgres')}."
            ) from error
        super().__init__(Postgres(url, timeout, reconnect_timeout))
