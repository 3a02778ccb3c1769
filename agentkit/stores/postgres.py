"""Chats kept in PostgreSQL: `PostgresStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.errors import ConfigurationError, how_to_install
from agentkit.stores.store import SessionStore
from agentkit.wire.arguments import checked

if TYPE_CHECKING:
    from agentkit.stores.postgres_database import Postgres


class PostgresStore(SessionStore):
    """Keeps sessions in PostgreSQL, in tables named `agentkit_*`. See `SessionStore` for the methods.

    Any number of threads, processes and machines may share it. Its methods block. Async callers run them in threads,
    as `agent.aio` does, so there is no separate async store. When `append` returns, the data is as durable as the
    server's `synchronous_commit` makes it.

    Writers hold an advisory lock. A process that ends releases it at once; one that lives keeps it as long as its
    connection to the server. If the connection is lost or the server restarts, the lock is taken again. If another
    writer is faster, this one's next step raises SessionConflict. A store needs one connection for the lock, and up
    to 15 for short transactions.

    PgBouncer works with `pool_mode=session` and a pool that is large enough (16 connections for each store). In the
    modes `transaction` and `statement`, each transaction gets another connection, so that locks and prepared
    statements don't persist. This raises ConfigurationError when the store is opened.

    If the server is unavailable for a while, calls wait for it, also when the store is opened. No step is stored
    twice.

    Search finds the text that people read, not thoughts, calls or responses. Words are compared without regard to
    case, accents and ligatures. In scripts without spaces, a word within a sentence is found. In each message, the
    first megabyte of distinct words is searched.

    Args:
        url: `postgresql://user:password@host/database`. Errors and reprs never show the password. The tables are
            created in the first schema of the user's `search_path`.
        timeout: Seconds to wait for a free connection, and for locks that others hold for the length of a step.
        reconnect_timeout: Seconds to wait for a server that can't be reached.

    Raises:
        ConfigurationError: The URL is wrong, a pooler doesn't keep sessions, or psycopg isn't installed.
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
