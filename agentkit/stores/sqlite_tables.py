"""Statements and tables as SQLite has them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentkit.errors import StoreError
from agentkit.stores.schema import check_version, fill

APPLICATION_ID = 0x616B6974  # "akit"; see https://sqlite.org/pragma.html#pragma_application_id
_PARTS = {
    "p": "",
    "int": "INTEGER",
    "float": "REAL",
    "id": "TEXT",
    "serial": "INTEGER PRIMARY KEY",
    "strict": " STRICT",
    "words": "TEXT",
    "index": "?",
    "gone": "gone(CAST(s.owner AS BLOB), s.updated)",
    "tell": "",
}
# Words were folded in Python, so the tokenizer has only spaces to look for: all else is a letter to "ascii".
# The index has no copy of them (https://sqlite.org/fts5.html#external_content_tables). Messages without words aren't in
# it.
_INDEX = (
    "CREATE VIEW texts AS SELECT id, words FROM messages WHERE words <> ''",
    "CREATE VIRTUAL TABLE found USING fts5 (words, content = 'texts', content_rowid = 'id', tokenize = 'ascii')",
    """CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.words <> '' BEGIN
        INSERT INTO found (rowid, words) VALUES (new.id, new.words); END""",
    """CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.words <> '' BEGIN
        INSERT INTO found (found, rowid, words) VALUES ('delete', old.id, old.words); END""",
)


class Tables:
    """A file as `migrate` sees it."""

    kind = "sqlite"
    index: Sequence[str] = _INDEX

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def execute(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement; return its rows."""
        return self._connection.execute(filled(text), values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction: what others do waits for its end."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def version(self) -> int:
        """Return the version of the schema; 0 is an empty file."""
        if not self.execute("SELECT 1 FROM sqlite_schema"):
            return 0
        return self.noted_version()

    def noted_version(self) -> int:
        """Return the version that a file has noted. Raises StoreError if the file isn't ours, or newer."""
        if self._pragma("application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self._path} is an SQLite database, but not one of agentkit; it was left as it is."
            )
        return check_version(str(self._path), self._pragma("user_version"))

    def set_version(self, version: int) -> None:
        """Note the version of the schema."""
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {version}")

    def has(self, table: str) -> bool:
        """Return whether there is a table."""
        return bool(self.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)))

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value


@lru_cache(maxsize=256)
def filled(text: str) -> str:
    """Write a statement as SQLite takes it."""
    return fill(text, _PARTS)
