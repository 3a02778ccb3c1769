"""What a file of `SQLiteStore` looks like: numbered migrations, each run once; `user_version` counts them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

APPLICATION_ID = 0x616B6974  # "akit"; see https://sqlite.org/pragma.html#pragma_application_id
PAGE_SIZE = 1024  # a step changes about ten pages, so a third of the bytes that the usual 4096 costs

_TABLES = (
    """
    CREATE TABLE sessions (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        version INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        usage TEXT NOT NULL,
        title TEXT,
        model TEXT,
        expires REAL,
        parent TEXT
    ) STRICT
    """,
    "CREATE INDEX sessions_by_time ON sessions (updated, id)",
    "CREATE INDEX sessions_by_end ON sessions (expires) WHERE expires IS NOT NULL",
    # Apart from the session's row, which is written at each step: they may be long.
    """
    CREATE TABLE instructions (
        session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
        text TEXT NOT NULL
    ) STRICT
    """,
    # `content` is wire JSON. `text` is what a search finds.
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        created REAL NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        text TEXT NOT NULL,
        usage TEXT,
        finish_reason TEXT,
        UNIQUE (session, seq)
    ) STRICT
    """,
    # The ledger: the calls of a session's last message.
    """
    CREATE TABLE calls (
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        number INTEGER NOT NULL,
        call_id TEXT NOT NULL,
        name TEXT NOT NULL,
        effect TEXT NOT NULL CHECK (effect IN ('read', 'write')),
        started INTEGER NOT NULL CHECK (started IN (0, 1)),
        response TEXT,
        PRIMARY KEY (session, number)
    ) STRICT
    """,
    """
    CREATE TABLE summaries (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        upto INTEGER NOT NULL,
        text TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX summaries_by_session ON summaries (session)",
    # The one writer of a session. `taken` is in seconds since 1970, the rest is `Owner`.
    """
    CREATE TABLE writers (
        session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
        token TEXT NOT NULL,
        taken REAL NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started TEXT NOT NULL
    ) STRICT
    """,
)

# An index without a copy of the texts (https://sqlite.org/fts5.html#external_content_tables). Messages without
# text are not in it; triggers keep it in step, whatever removes a message.
_INDEX = (
    "CREATE VIEW texts AS SELECT id, text FROM messages WHERE text <> ''",
    """
    CREATE VIRTUAL TABLE words
    USING fts5 (text, content = 'texts', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2')
    """,
    """
    CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.text <> '' BEGIN
        INSERT INTO words (rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.text <> '' BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
)


# Texts of some MB may be in there: whatever doesn't ask for them reads the indexes only. What belongs to a call
# that waits is JSON.
_RESULTS = (
    """
    CREATE TABLE results (
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (session, id)
    ) STRICT
    """,
    "CREATE INDEX results_by_message ON results (session, seq, id)",
    "ALTER TABLE calls ADD COLUMN deferred TEXT",
)


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Tell whether this SQLite can search by FTS5."""
    return bool(connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone())


def has_index(connection: sqlite3.Connection) -> bool:
    """Tell whether the file was made with an index of words: by an SQLite that has FTS5."""
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'words'").fetchone())


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in _TABLES + (_INDEX if has_fts5(connection) else ()):
        connection.execute(statement)


def _add_results(connection: sqlite3.Connection) -> None:
    for statement in _RESULTS:
        connection.execute(statement)


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [_make_tables, _add_results]
"""Never change one that was released; add another."""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Run the migrations that come after `version`, in the transaction that is open."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        migration(connection)
        connection.execute(f"PRAGMA user_version = {number}")
