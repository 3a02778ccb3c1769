"""The rows of a `SQLiteStore`: reading a session's, and changing them step by step."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, assert_never

from agentkit.limits import Usage
from agentkit.stores._values import (
    check_position,
    check_result,
    decode_content,
    decode_part,
    decode_state,
    decode_usage,
    encode_content,
    encode_part,
    encode_state,
    encode_usage,
    more_usage,
    no_open_call,
    no_session,
)
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    DeferCall,
    FinishCall,
    SaveResult,
    SaveSummary,
    SessionInfo,
    StartCalls,
    Step,
    StoredCall,
    StoredMessage,
    StoredResult,
    StoredSession,
    StoredSummary,
)

INFO = (
    "SELECT s.id, s.created, s.updated, s.version, s.messages, s.usage, s.title, s.model, i.text, s.expires, "
    "s.parent, s.key FROM sessions s LEFT JOIN instructions i ON i.session = s.key"
)


def raw(text: str | None) -> bytes | None:
    """Encode what SQL takes by `CAST(? AS TEXT)`: a str with lone surrogates in it can't be bound as it is."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def read_info(db: sqlite3.Connection, id: str) -> tuple[SessionInfo, int]:  # noqa: A002
    """Read a session's info and its key."""
    row = db.execute(f"{INFO} WHERE s.id = CAST(? AS TEXT)", (raw(id),)).fetchone()
    if row is None:
        raise no_session(id)
    return info_of(row), row[-1]


def info_of(row: Sequence[Any]) -> SessionInfo:
    """Make a session's info of a row that `INFO` selects."""
    id, created, updated, version, messages, usage, title, model, instructions, expires, parent, _ = row  # noqa: A001
    return SessionInfo(
        id=id,
        created=created,
        updated=updated,
        version=version,
        messages=messages,
        usage=decode_usage(usage) or Usage(),
        title=title,
        model=model,
        instructions=instructions,
        expires=expires,
        parent=parent,
    )


def read_session(db: sqlite3.Connection, id: str) -> StoredSession:  # noqa: A002
    """Read a session."""
    info, key = read_info(db, id)
    summary = db.execute(
        "SELECT upto, text FROM summaries WHERE session = ? ORDER BY id DESC LIMIT 1", (key,)
    ).fetchone()
    return StoredSession(
        info=info,
        messages=[
            StoredMessage(
                seq=seq,
                content=decode_content(content),
                created=created,
                usage=decode_usage(usage),
                finish_reason=finish_reason,
            )
            for seq, content, created, usage, finish_reason in db.execute(
                "SELECT seq, content, created, usage, finish_reason FROM messages WHERE session = ? ORDER BY seq",
                (key,),
            )
        ],
        calls=[
            StoredCall(
                index=number,
                call_id=call_id,
                name=name,
                effect=effect,
                started=bool(started),
                response=decode_part(response),
                deferred=decode_state(deferred),
            )
            for number, call_id, name, effect, started, response, deferred in db.execute(
                "SELECT number, call_id, name, effect, started, response, deferred FROM calls WHERE session = ? "
                "ORDER BY number",
                (key,),
            )
        ],
        summary=StoredSummary(upto=summary[0], text=summary[1]) if summary else None,
    )


def read_results(db: sqlite3.Connection, id: str) -> list[StoredResult]:  # noqa: A002
    """Read the results of a session."""
    _, key = read_info(db, id)
    rows = db.execute("SELECT id, seq, text FROM results WHERE session = ? ORDER BY seq, id", (key,))
    return [StoredResult(id=result_id, seq=seq, text=text) for result_id, seq, text in rows]


def insert_message(db: sqlite3.Connection, session: int, message: StoredMessage) -> None:
    content = encode_content(message.content)
    db.execute(
        "INSERT INTO messages (session, seq, created, role, content, text, usage, finish_reason) "
        "VALUES (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, CAST(? AS TEXT))",
        (
            *(session, message.seq, message.created, content.role, content.json, content.text),
            *(encode_usage(message.usage), raw(message.finish_reason)),
        ),
    )


def _insert_call(db: sqlite3.Connection, session: int, call: StoredCall) -> None:
    response = None if call.response is None else encode_part(call.response)
    deferred = None if call.deferred is None else encode_state(call.deferred)
    db.execute(
        "INSERT INTO calls (session, number, call_id, name, effect, started, response, deferred) "
        "VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), CAST(? AS TEXT))",
        (
            *(session, call.index, raw(call.call_id), raw(call.name), call.effect),
            *(call.started, response, deferred),
        ),
    )


def put_result(db: sqlite3.Connection, session: int, result: StoredResult) -> None:
    """Store a result, in place of one of its id."""
    db.execute(
        "INSERT OR REPLACE INTO results (session, id, seq, text) VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT))",
        (session, raw(result.id), result.seq, raw(result.text)),
    )


class Change:
    """Steps that are stored in an open transaction."""

    def __init__(self, db: sqlite3.Connection, session: int, count: int, usage: str) -> None:
        self._db = db
        self._session = session
        self._count = count
        self._usage = usage
        self._used: list[Usage | None] = []
        self._updated: float | None = None

    def apply(self, step: Step) -> None:
        """Store a step. Raises StoreError if it doesn't fit."""
        db, session = self._db, self._session
        match step:
            case AddMessage():
                self._updated = time.time()
                message = StoredMessage(
                    seq=self._count,
                    content=step.content,
                    created=self._updated if step.created is None else step.created,
                    usage=step.usage,
                    finish_reason=step.finish_reason,
                )
                insert_message(db, session, message)
                db.execute("DELETE FROM calls WHERE session = ?", (session,))
                for call in step.calls:
                    _insert_call(db, session, call)
                self._count += 1
                self._used.append(step.usage)
            case StartCalls():
                for index in step.indexes:
                    self._set_call(index, "started = ?", step.started)
            case FinishCall():
                self._set_call(step.index, "response = CAST(? AS TEXT)", encode_part(step.response))
            case DeferCall():
                self._set_call(
                    step.index, "started = 0, deferred = CAST(? AS TEXT)", encode_state(step.state)
                )
            case SaveResult():
                check_result(step)
                put_result(db, session, StoredResult(id=step.id, seq=self._count, text=step.text))
            case Cut():
                check_position(step, step.seq, self._count)
                db.execute("DELETE FROM messages WHERE session = ? AND seq >= ?", (session, step.seq))
                db.execute("DELETE FROM results WHERE session = ? AND seq >= ?", (session, step.seq))
                db.execute("DELETE FROM calls WHERE session = ?", (session,))
                db.execute("DELETE FROM summaries WHERE session = ? AND upto > ?", (session, step.seq))
                self._count = step.seq
                self._updated = time.time()
            case AddUsage():
                self._used.append(step.usage)
            case SaveSummary():
                check_position(step, step.upto, self._count)
                db.execute(
                    "INSERT INTO summaries (session, upto, text) VALUES (?, ?, CAST(? AS TEXT))",
                    (session, step.upto, raw(step.text)),
                )
            case _:
                assert_never(step)

    def finish(self, steps: int) -> None:
        """Store what the session's own row says."""
        updated = () if self._updated is None else (self._updated,)  # there is an index on it
        self._db.execute(
            f"UPDATE sessions SET version = version + ?, messages = ?, usage = ?{', updated = ?' if updated else ''}"  # noqa: S608
            " WHERE key = ?",
            (steps, self._count, more_usage(self._usage, self._used), *updated, self._session),
        )

    def _set_call(self, index: int, change: str, value: Any) -> None:
        done = self._db.execute(
            f"UPDATE calls SET {change} WHERE session = ? AND number = ? AND response IS NULL",  # noqa: S608
            (value, self._session, index),
        )
        if not done.rowcount:
            raise no_open_call(index)
