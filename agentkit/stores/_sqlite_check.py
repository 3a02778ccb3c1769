"""What may be wrong with a file of `SQLiteStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from agentkit.errors import StoreError
from agentkit.stores._values import (
    DamagedRow,
    decode_content,
    decode_part,
    decode_state,
    decode_usage,
    encode_content,
)
from agentkit.wire.content import calls_of


def problems(db: sqlite3.Connection, *, indexed: bool) -> list[str]:
    """List what is wrong, in an open transaction; an empty list is a sound file."""
    found = [f"SQLite: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    if not found:  # else what SQLite can't read would only say the same again
        found = [
            *_orphans(db),
            *_index(db, indexed),
            *_sessions(db),
            *_messages(db),
            *_ledger(db),
            *_results(db),
        ]
    return found


def _orphans(db: sqlite3.Connection) -> Iterator[str]:
    for table, row, *_ in db.execute("PRAGMA foreign_key_check"):
        yield f"{table}: row {row} belongs to no session."


def _index(db: sqlite3.Connection, indexed: bool) -> Iterator[str]:
    if not indexed:
        return
    try:
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError:
        yield "The index of words doesn't fit the messages."


def _sessions(db: sqlite3.Connection) -> Iterator[str]:
    rows = db.execute(
        "SELECT s.id, s.messages, s.usage, count(m.seq), min(m.seq), max(m.seq) "
        "FROM sessions s LEFT JOIN messages m ON m.session = s.key GROUP BY s.key"
    )
    for id, messages, usage, count, first, last in rows:  # noqa: A001
        if count != messages:
            yield f"Session {id!r} has {count} messages; it says {messages}."
        elif count and (first, last) != (0, count - 1):
            yield f"Session {id!r} has gaps: {count} messages, numbered {first} to {last}."
        yield from _usage(f"Session {id!r}", usage)


def _messages(db: sqlite3.Connection) -> Iterator[str]:
    rows = db.execute(
        "SELECT s.id, m.seq, m.role, m.content, m.text, m.usage FROM messages m JOIN sessions s ON s.key = m.session"
    )
    for id, seq, role, content, text, usage in rows:  # noqa: A001
        where = f"Session {id!r}, message {seq}"
        try:
            encoded = encode_content(decode_content(content))
        except (DamagedRow, StoreError) as error:
            yield f"{where}: {error}."
            continue
        if (encoded.role, encoded.text) != (role, text):
            yield f"{where}: its role or text isn't that of its content."
        yield from _usage(where, usage)


def _ledger(db: sqlite3.Connection) -> Iterator[str]:
    """Compare each call that is entered with the last message of its session."""
    rows = db.execute(
        "SELECT s.id, c.number, c.name, c.response, c.deferred, m.content FROM calls c "
        "JOIN sessions s ON s.key = c.session LEFT JOIN messages m ON m.session = s.key AND m.seq = s.messages - 1"
    )
    for id, number, name, response, deferred, content in rows:  # noqa: A001
        where = f"Session {id!r}, call {number} of the ledger"
        try:
            calls = calls_of(decode_content(content)) if content else []
            decode_part(response)
            decode_state(deferred)
        except DamagedRow as error:
            yield f"{where}: {error}."
            continue
        if not 0 <= number < len(calls) or calls[number]["name"] != name:
            yield f"{where}: the last message has no such call."


def _results(db: sqlite3.Connection) -> Iterator[str]:
    rows = db.execute(
        "SELECT s.id, r.id, r.seq, s.messages FROM results r JOIN sessions s ON s.key = r.session "
        "WHERE r.seq NOT BETWEEN 0 AND s.messages"  # of the next message, if that isn't there yet
    )
    for id, result, seq, messages in rows:  # noqa: A001
        yield f"Session {id!r}, result {result!r}: it belongs to message {seq} of {messages}."


def _usage(where: str, usage: str | None) -> Iterator[str]:
    try:
        decode_usage(usage)
    except DamagedRow as error:
        yield f"{where}, usage: {error}."
