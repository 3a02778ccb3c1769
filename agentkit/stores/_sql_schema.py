"""What the tables of `SQLStore` look like: numbered migrations, each run once; `agentkit_schema` counts them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

_TYPES = {
    "postgresql": {"key": 'TEXT COLLATE "C"', "int": "BIGINT", "float": "DOUBLE PRECISION", "strict": ""},
    "sqlite": {"key": "TEXT", "int": "INTEGER", "float": "REAL", "strict": "STRICT"},
}

_VERSIONS = "CREATE TABLE agentkit_schema (version {int} PRIMARY KEY, applied {float} NOT NULL) {strict}"

# A time is in seconds since 1970, a truth 0 or 1.
_TABLES = (
    # `fence` is what the writer must know to append, new each time. `owner` is noted where the database has no
    # locks that end with a process: that process.
    """
    CREATE TABLE agentkit_sessions (
        id {key} PRIMARY KEY,
        created {float} NOT NULL,
        updated {float} NOT NULL,
        version {int} NOT NULL,
        messages {int} NOT NULL,
        usage TEXT NOT NULL,
        title TEXT,
        model TEXT,
        instructions TEXT,
        expires {float},
        parent TEXT,
        fence TEXT,
        owner TEXT
    ) {strict}
    """,
    "CREATE INDEX agentkit_sessions_by_time ON agentkit_sessions (updated, id)",
    "CREATE INDEX agentkit_sessions_by_end ON agentkit_sessions (expires) WHERE expires IS NOT NULL",
    # `content` is wire JSON: as text, which comes back as it was; JSONB would sort its keys and refuse NULs.
    # `words` are those of its text that people read, as a search compares them, with a space around each.
    """
    CREATE TABLE agentkit_messages (
        session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
        seq {int} NOT NULL,
        created {float} NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        usage TEXT,
        finish_reason TEXT,
        words TEXT NOT NULL,
        PRIMARY KEY (session_id, seq)
    ) {strict}
    """,
    # The ledger: the calls of a session's last message.
    """
    CREATE TABLE agentkit_calls (
        session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
        idx {int} NOT NULL,
        call_id TEXT NOT NULL,
        name TEXT NOT NULL,
        effect TEXT NOT NULL,
        started {int} NOT NULL,
        response TEXT,
        PRIMARY KEY (session_id, idx)
    ) {strict}
    """,
    # `version` is the session's as it was saved: the newest has the greatest.
    """
    CREATE TABLE agentkit_summaries (
        session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
        version {int} NOT NULL,
        upto {int} NOT NULL,
        summary TEXT NOT NULL,
        PRIMARY KEY (session_id, version)
    ) {strict}
    """,
)

_INDEX = (
    "CREATE INDEX agentkit_messages_by_word ON agentkit_messages USING gin (to_tsvector('simple', words))"
)


_RESULTS = (
    """
    CREATE TABLE agentkit_results (
        session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
        id {key} NOT NULL,
        seq {int} NOT NULL,
        result TEXT NOT NULL,
        PRIMARY KEY (session_id, id)
    ) {strict}
    """,
    "CREATE INDEX agentkit_results_by_message ON agentkit_results (session_id, seq)",
    "ALTER TABLE agentkit_calls ADD COLUMN deferred TEXT",
)


def _make_tables(connection: sa.Connection) -> None:
    for statement in _TABLES:
        _execute(connection, statement)
    if connection.dialect.name == "postgresql":
        _execute(connection, _INDEX)


def _add_results(connection: sa.Connection) -> None:
    for statement in _RESULTS:
        _execute(connection, statement)


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_make_tables, _add_results)
"""Never change one that was released; add another."""


def schema_version(connection: sa.Connection) -> int:
    """Say how many migrations were run."""
    if not sa.inspect(connection).has_table(versions.name):
        return 0
    return connection.scalar(sa.select(sa.func.max(versions.c.version))) or 0


def migrate(connection: sa.Connection, version: int) -> None:
    """Run the migrations that come after `version`, in the transaction that is open."""
    if version == 0:
        _execute(connection, _VERSIONS)
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        migration(connection)
        connection.execute(versions.insert().values(version=number, applied=time.time()))


def _execute(connection: sa.Connection, statement: str) -> None:
    connection.exec_driver_sql(statement.format_map(_TYPES[connection.dialect.name]))


_ESCAPED = re.compile(r"\\(?:(\\)|x(00)|u([0-9a-f]{4}))")


class Exact(sa.types.TypeDecorator[str]):
    r"""Any str, in a TEXT that can't hold all: NUL is kept as `\x00`, a lone surrogate so too, `\` as `\\`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Escape what TEXT can't hold."""
        if value is None:
            return None
        escaped = value.replace("\\", "\\\\").replace("\0", "\\x00")
        return escaped.encode("utf-8", "backslashreplace").decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Undo that."""
        if value is None or "\\" not in value:
            return value
        return _ESCAPED.sub(lambda found: found[1] or chr(int(found[2] or found[3], 16)), value)


_metadata = sa.MetaData()
versions = sa.Table(
    "agentkit_schema", _metadata, sa.Column("version", sa.BigInteger), sa.Column("applied", sa.Double)
)
sessions = sa.Table(
    "agentkit_sessions",
    _metadata,
    sa.Column("id", Exact, primary_key=True),
    sa.Column("created", sa.Double),
    sa.Column("updated", sa.Double),
    sa.Column("version", sa.BigInteger),
    sa.Column("messages", sa.BigInteger),
    sa.Column("usage", sa.Text),
    sa.Column("title", Exact),
    sa.Column("model", Exact),
    sa.Column("instructions", Exact),
    sa.Column("expires", sa.Double),
    sa.Column("parent", Exact),
    sa.Column("fence", sa.Text),
    sa.Column("owner", sa.Text),
)
messages = sa.Table(
    "agentkit_messages",
    _metadata,
    sa.Column("session_id", Exact, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("created", sa.Double),
    sa.Column("role", Exact),
    sa.Column("content", sa.Text),
    sa.Column("usage", sa.Text),
    sa.Column("finish_reason", Exact),
    sa.Column("words", sa.Text),
)
calls = sa.Table(
    "agentkit_calls",
    _metadata,
    sa.Column("session_id", Exact, primary_key=True),
    sa.Column("idx", sa.BigInteger, primary_key=True),
    sa.Column("call_id", Exact),
    sa.Column("name", Exact),
    sa.Column("effect", sa.Text),
    sa.Column("started", sa.BigInteger),
    sa.Column("response", sa.Text),
    sa.Column("deferred", sa.Text),
)
results = sa.Table(
    "agentkit_results",
    _metadata,
    sa.Column("session_id", Exact, primary_key=True),
    sa.Column("id", Exact, primary_key=True),
    sa.Column("seq", sa.BigInteger),
    sa.Column("result", Exact),
)
summaries = sa.Table(
    "agentkit_summaries",
    _metadata,
    sa.Column("session_id", Exact, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("upto", sa.BigInteger),
    sa.Column("summary", Exact),
)
