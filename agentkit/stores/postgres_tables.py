"""Statements and tables as PostgreSQL has them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg

from agentkit.stores.schema import check_version, fill

_MIGRATING = 0x616B6974_6D696772  # the key of an advisory lock: "akitmigr"
_PARTS = {
    "p": "agentkit_",
    "int": "BIGINT",
    "float": "DOUBLE PRECISION",
    "id": 'TEXT COLLATE "C"',
    "strict": "",
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "words": "TSVECTOR",
    # As they are: no parser of the server's, with rules and a locale of its own, between our words and the index.
    "index": "array_to_tsvector(array_remove(string_to_array(?, ' '), ''))",
    # The lease of a store whose process has ended: its lock is free. Shared, so that nobody is in the way who asks too.
    # One that is no lock's number is nobody's.
    "gone": """CASE WHEN s.owner ~ '^([0-9]{1,18}|[1-8][0-9]{18})$'
        THEN pg_try_advisory_xact_lock_shared(s.owner::bigint) ELSE true END""",
    "tell": "RETURNING CASE WHEN waited = 1 AND owner IS NULL THEN pg_notify('agentkit', key::text) END",
}
_INDEX = ("CREATE INDEX agentkit_messages_by_word ON agentkit_messages USING gin (words)",)


class Tables:
    """A database as `migrate` sees it."""

    kind = "postgres"
    index: Sequence[str] = _INDEX

    def __init__(self, name: str, db: psycopg.Connection[Any]) -> None:
        self._name = name
        self._db = db

    def execute(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement; return its rows."""
        cursor = self._db.execute(filled(text), values, prepare=False)  # tables come and go
        return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction: others that start now wait here."""
        # Before it begins: in one that has begun, the server wouldn't see tables that others have made meanwhile.
        self._db.execute(b"SELECT pg_advisory_lock($1)", (_MIGRATING,))
        try:
            with self._db.transaction():
                yield
        finally:
            with suppress(psycopg.Error):
                self._db.execute(b"SELECT pg_advisory_unlock($1)", (_MIGRATING,))

    def version(self) -> int:
        """Return the version of the schema; 0 is an empty database."""
        if not self.has("agentkit_schema"):
            return 0
        return check_version(self._name, self.execute("SELECT max(version) FROM agentkit_schema")[0][0] or 0)

    def set_version(self, version: int) -> None:
        """Note the version of the schema."""
        self.execute(
            "CREATE TABLE IF NOT EXISTS {p}schema (version BIGINT PRIMARY KEY, applied DOUBLE PRECISION NOT NULL)"
        )
        self.execute("INSERT INTO {p}schema VALUES (?, ?)", (version, time.time()))

    def has(self, table: str) -> bool:
        """Return whether there is a table."""
        return self.execute("SELECT to_regclass(?::text) IS NOT NULL", (table,)) == [(True,)]


@lru_cache(maxsize=256)
def filled(text: str) -> bytes:
    """Write a statement as PostgreSQL takes it."""
    head, *rest = fill(text, _PARTS).split("?")
    return "".join([head, *(f"${n}{piece}" for n, piece in enumerate(rest, 1))]).encode()
