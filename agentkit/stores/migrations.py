"""How a database comes to have the tables of `schema`: made at once, or moved from what an older agentkit made.

What is old is set aside under other names, in the transaction that makes the new tables. Then rows are moved in
batches, each a transaction: whoever is killed meanwhile leaves a database that the next one to open it goes on with.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from agentkit.stores._values import readable_text
from agentkit.stores.rows import MESSAGE, RESULT, Statement
from agentkit.stores.schema import TABLES, VERSION, exact, fill
from agentkit.stores.search import indexed

BATCH = 500
"""Rows that are moved in one transaction."""


class Database(Protocol):
    """A database while it is looked at, and brought up to date."""

    kind: str
    """`sqlite` or `postgres`."""
    index: Sequence[str]
    """Statements that make the index of words."""

    def execute(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement; return its rows."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Open a transaction: what others do waits for its end."""
        ...

    def version(self) -> int:
        """Return the version of the schema; 0 is an empty database. Raises StoreError if it isn't ours, or newer."""
        ...

    def set_version(self, version: int) -> None:
        """Note the version of the schema."""
        ...

    def has(self, table: str) -> bool:
        """Return whether there is a table."""
        ...


def migrate(database: Database) -> None:
    """Bring a database up to date, if it isn't. Other processes may be doing the same."""
    if database.version() < VERSION:
        with database.transaction():
            version = database.version()  # another process may have done it meanwhile
            # The tables are made as they are today: what was added to them since is for those which had them.
            todo = MIGRATIONS[version:] if version >= _MADE else MIGRATIONS[version or _MADE - 1 : _MADE]
            for migration in todo:
                migration(database)
            if todo:
                database.set_version(VERSION)
    _finish(database)


def _add_results(database: Database) -> None:
    for statement in _OLD[database.kind]["results"].split(";"):
        database.execute(statement)


def _make_tables(database: Database) -> None:
    """Make the tables of today, after whatever is there was set aside."""
    if database.has(_OLD[database.kind]["sessions"]):
        for statement in _OLD[database.kind]["aside"].split(";"):
            database.execute(statement)
    for statement in (*TABLES, *database.index):
        database.execute(statement)
    database.execute("INSERT INTO {p}meta (store) VALUES (?)", (uuid.uuid4().hex,))


def _make_first_tables(database: Database) -> None:
    """Nothing: whoever had the first tables has them already."""


def _add_what_is_known(database: Database) -> None:
    for column in ("calls ADD COLUMN why", "calls ADD COLUMN declared", "messages ADD COLUMN given"):
        database.execute(f"ALTER TABLE {{p}}{column} TEXT")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _make_first_tables,
    _add_results,
    _make_tables,
    _add_what_is_known,
)
"""By version, from 1 on. Never change one that was released; add another."""
_MADE = 3
"""The number of the one that makes the tables anew."""


# -- moving what versions 1 and 2 kept

_OLD: dict[str, dict[str, str]] = {
    "sqlite": {
        "old": "old_",
        "row": "rowid",
        "find": "rowid = ?",
        "order": "rowid",
        "key": "key",
        "who": "key",
        "of": "session",
        "number": "number",
        "summary": "text",
        "summaries": "id",
        "result": "text",
        "instructions": "(SELECT i.text FROM old_instructions i WHERE i.session = s.key)",
        "sessions": "sessions",
        "results": """
            CREATE TABLE results (session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE, id TEXT NOT NULL,
                seq INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (session, id)) STRICT;
            CREATE INDEX results_by_message ON results (session, seq, id);
            ALTER TABLE calls ADD COLUMN deferred TEXT""",
        "aside": """
            DROP TRIGGER IF EXISTS message_added; DROP TRIGGER IF EXISTS message_removed; DROP TABLE IF EXISTS words;
            DROP VIEW IF EXISTS texts; DROP TABLE writers; DROP INDEX sessions_by_time; DROP INDEX sessions_by_end;
            DROP INDEX summaries_by_session; DROP INDEX results_by_message;
            ALTER TABLE sessions RENAME TO old_sessions; ALTER TABLE instructions RENAME TO old_instructions;
            ALTER TABLE messages RENAME TO old_messages; ALTER TABLE calls RENAME TO old_calls;
            ALTER TABLE summaries RENAME TO old_summaries; ALTER TABLE results RENAME TO old_results""",
    },
    "postgres": {
        "old": "agentkit_old_",
        "row": "ctid::text",
        "find": "ctid = ?::text::tid",
        "order": "created, session_id, seq",
        "key": "NULL",
        "who": "id",
        "of": "session_id",
        "number": "idx",
        "summary": "summary",
        "summaries": "version",
        "result": "result",
        "instructions": "s.instructions",
        "sessions": "agentkit_sessions",
        "results": """
            CREATE TABLE agentkit_results (session_id TEXT COLLATE "C" NOT NULL REFERENCES agentkit_sessions (id)
                ON DELETE CASCADE, id TEXT COLLATE "C" NOT NULL, seq BIGINT NOT NULL, result TEXT NOT NULL,
                PRIMARY KEY (session_id, id));
            CREATE INDEX agentkit_results_by_message ON agentkit_results (session_id, seq);
            ALTER TABLE agentkit_calls ADD COLUMN deferred TEXT""",
        "aside": """
            DROP INDEX agentkit_sessions_by_time; DROP INDEX agentkit_sessions_by_end;
            DROP INDEX agentkit_messages_by_word; DROP INDEX agentkit_results_by_message;
            ALTER TABLE agentkit_messages DROP CONSTRAINT agentkit_messages_session_id_fkey;
            ALTER TABLE agentkit_calls DROP CONSTRAINT agentkit_calls_session_id_fkey;
            ALTER TABLE agentkit_summaries DROP CONSTRAINT agentkit_summaries_session_id_fkey;
            ALTER TABLE agentkit_results DROP CONSTRAINT agentkit_results_session_id_fkey;
            ALTER TABLE agentkit_sessions RENAME TO agentkit_old_sessions;
            ALTER TABLE agentkit_messages RENAME TO agentkit_old_messages;
            ALTER TABLE agentkit_calls RENAME TO agentkit_old_calls;
            ALTER TABLE agentkit_summaries RENAME TO agentkit_old_summaries;
            ALTER TABLE agentkit_results RENAME TO agentkit_old_results;
            CREATE INDEX agentkit_old_by_time ON agentkit_old_messages (created, session_id, seq)""",
    },
}
# What is read of each table, in which order; the first column is the session's key or id.
_READS = (
    (
        "sessions",
        "{key}, id, created, updated, version, messages, usage, title, model, expires, parent, {instructions}",
        "updated",
    ),
    ("messages", "{of}, seq, created, role, content, usage, finish_reason", "{order}"),
    ("calls", "{of}, {number}, call_id, name, effect, started, response, deferred", "{of}"),
    ("summaries", "{of}, upto, {summary}", "{of}, {summaries}"),
    ("results", "{of}, id, seq, {result}", "{of}"),
)


def _finish(database: Database) -> None:
    """Move what is set aside, if there is anything."""
    old = _OLD[database.kind]
    if not database.has(f"{old['old']}sessions"):
        return
    for table, columns, order in _READS:
        select = f"SELECT {{row}}, {columns} FROM {{old}}{table} s ORDER BY {order} LIMIT {BATCH}"
        while _move(database, table, fill(select, old)):
            pass
    with database.transaction():
        for table in ("messages", "calls", "summaries", "results", "instructions", "sessions"):
            database.execute(f"DROP TABLE IF EXISTS {old['old']}{table}")


def _move(database: Database, table: str, select: str) -> bool:
    """Move a batch of rows; return whether there were any."""
    old = _OLD[database.kind]
    with database.transaction():
        if not database.has(f"{old['old']}sessions"):
            return False  # another process has finished
        found = database.execute(select)
        for number, *row in found:
            for statement, values in _INSERTS[table](row, _TEXT[database.kind]):
                database.execute(fill(statement, old), values)
            database.execute(fill(f"DELETE FROM {{old}}{table} WHERE {{find}}", old), (number,))
    return bool(found)


Text = Callable[[Any], Any]
"""Writes a text as `exact` does."""


def _escape(value: Any) -> str | None:
    """Write a text of an old file. Lone surrogates are in there as they are, which are no UTF-8."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            value = value.decode("utf-8", "replace")
    return exact(value)


_TEXT: dict[str, Text] = {"sqlite": _escape, "postgres": lambda text: text}
"""In PostgreSQL they were written so already."""


def _json(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _session(row: list[Any], text: Text) -> list[Statement]:
    key, id, created, updated, version, messages, usage, title, model, expires, parent, instructions = row
    values: tuple[Any, ...] = (
        *(text(id), created, updated, version, messages, _json(usage), text(title), text(model), expires),
        *(text(parent), "moved"),
    )
    names = "id, created, updated, version, messages, usage, title, model, expires, parent, fence"
    insert = f"INSERT INTO {{p}}sessions ({names}) VALUES ({', '.join('?' * 11)})"
    if key is not None:
        insert, values = (
            f"INSERT INTO {{p}}sessions (key, {names}) VALUES ({', '.join('?' * 12)})",
            (key, *values),
        )
    made: list[Statement] = [(insert, values)]
    if instructions is not None:
        by_id = "INSERT INTO {p}instructions (session, text) SELECT key, ? FROM {p}sessions WHERE id = ?"
        made.append((by_id, (text(instructions), text(id))))
    return made


def _message(row: list[Any], text: Text) -> list[Statement]:
    session, seq, created, role, content, usage, finish_reason = row
    known = (seq, created, text(role), _json(content), _json(usage), text(finish_reason), *[None] * 7)
    return [(MESSAGE + _OF, (*known, indexed(readable_text(content)), session))]


def _call(row: list[Any], text: Text) -> list[Statement]:
    session, number, call_id, name, effect, started, response, deferred = row
    insert = """INSERT INTO {p}calls (session, number, call_id, name, effect, started, response, deferred)
        SELECT s.key, ?, ?, ?, ?, ?, ?, ?"""
    known = (number, text(call_id), text(name), effect, started, _json(response), _json(deferred))
    return [(insert + _OF, (*known, session))]


def _summary(row: list[Any], text: Text) -> list[Statement]:
    session, upto, summary = row
    return [
        (
            "INSERT INTO {p}summaries (session, upto, text) SELECT s.key, ?, ?" + _OF,
            (upto, text(summary), session),
        )
    ]


def _result(row: list[Any], text: Text) -> list[Statement]:
    session, id, seq, result = row
    return [(RESULT + _OF, (text(id), seq, text(result), session))]


_OF = " FROM {p}sessions s WHERE s.{who} = ?"
_INSERTS: dict[str, Callable[[list[Any], Text], list[Statement]]] = {
    "sessions": _session,
    "messages": _message,
    "calls": _call,
    "summaries": _summary,
    "results": _result,
}
