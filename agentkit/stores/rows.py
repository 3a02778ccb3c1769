"""Rows of the tables: the statements that read and write them, and the values which they stand for.

Statements are the same for both databases: `?` is a value, `{...}` is what a dialect fills in.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from agentkit.errors import StoreError
from agentkit.limits import Usage
from agentkit.stores import _values as values
from agentkit.stores.base import (
    DamagedMessage,
    Message,
    SessionInfo,
    SessionSettings,
    StoredCall,
    StoredResult,
    StoredSession,
    StoredSummary,
)
from agentkit.stores.records import Damaged
from agentkit.stores.schema import exact, maybe, plain
from agentkit.stores.search import indexed
from agentkit.wire.content import JsonObject
from agentkit.wire.history import check_shape

Statement = tuple[str, tuple[Any, ...]]
"""Text and values. Several of them are one transaction."""
Row = Sequence[Any]
T = TypeVar("T")

_INFO = """id, created, updated, version, messages, usage, title, model,
    (SELECT i.text FROM {p}instructions i WHERE i.session = key), expires, parent"""
INFO = f"SELECT {_INFO} FROM {{p}}sessions s"
_BY_ID = "session = (SELECT key FROM {p}sessions WHERE id = ?)"

# One statement makes a session that isn't there, takes its lease if that is free, and reads its row, whether it has a
# ledger, and where a sender's id is. It may be sent twice.
_CLAIMED = f"""{_INFO}, key, EXISTS (SELECT 1 FROM {{p}}calls c WHERE c.session = key),
    (SELECT m.seq FROM {{p}}messages m WHERE m.session = key AND m.sender_id = ?)"""
_TAKE = f"""
    INSERT INTO {{p}}sessions AS s (id, created, updated, version, messages, usage, title, model, expires, parent,
        fence, owner) VALUES (?, ?, ?, ?, 0, '{{}}', ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET fence = excluded.fence, owner = excluded.owner, waited = 0
        WHERE s.owner IS NULL OR s.fence = excluded.fence OR {{gone}}
    RETURNING {_CLAIMED}"""
_CLAIM = f"""
    UPDATE {{p}}sessions AS s SET fence = ?, owner = ?, waited = 0
        WHERE s.id = ? AND (s.owner IS NULL OR s.fence = ? OR {{gone}})
    RETURNING {_CLAIMED}"""
_CREATE = """
    INSERT INTO {p}sessions AS s (id, created, updated, version, messages, usage, title, model, expires, parent,
        fence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET fence = s.fence WHERE s.fence = excluded.fence"""
_MADE = " FROM {p}sessions s WHERE s.id = ? AND s.fence = ? AND s.version = ?"
_INSTRUCTIONS = (
    f"INSERT INTO {{p}}instructions (session, text) SELECT s.key, ?{_MADE} ON CONFLICT (session) DO NOTHING"
)
MESSAGE = """
    INSERT INTO {p}messages (session, seq, created, role, content, usage, finish_reason, model, endpoint, metadata,
        sender_id, files, cleared, given, words)
    SELECT s.key, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {index}"""
RESULT = "INSERT INTO {p}results (session, id, seq, text) SELECT s.key, ?, ?, ?"
CALL = """
    INSERT INTO {p}calls (session, number, call_id, name, effect, args, started, response, deferred, why, declared)
    SELECT s.key, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"""
STATE = "INSERT INTO {p}states (session, seq, state) SELECT s.key, ?, ?"

RESULTS = f"SELECT id, seq, text FROM {{p}}results WHERE {_BY_ID} ORDER BY seq, id"
_MESSAGES = f"""
    SELECT seq, content, created, usage, finish_reason, model, endpoint, metadata, sender_id, files, cleared, given
    FROM {{p}}messages WHERE {_BY_ID} AND seq >= ? AND seq < ? ORDER BY seq"""
_CALLS = f"""SELECT number, call_id, name, effect, args, started, response, deferred, why, declared
    FROM {{p}}calls WHERE {_BY_ID} ORDER BY number"""
_SUMMARY = f"SELECT upto, text FROM {{p}}summaries WHERE {_BY_ID} AND upto <= ? ORDER BY id DESC LIMIT 1"
_STATE = f"SELECT state FROM {{p}}states WHERE {_BY_ID} AND seq <= ? ORDER BY seq DESC LIMIT 1"
ALL = 2**62
"""More than any number of a message."""


# -- statements


def begins(low: str, column: str = "s.id") -> tuple[list[str], list[Any]]:
    """Make the conditions that a text begins so, with their values: both databases order ids by their characters."""
    if not low:
        return [], []
    head = low.rstrip(chr(sys.maxunicode))
    if not head:
        return [f"{column} >= ?"], [low]
    last = ord(head[-1]) + 1
    return [f"{column} >= ?", f"{column} < ?"], [low, head[:-1] + chr(0xE000 if last == 0xD800 else last)]


def search(hits: Callable[[str], str], prefix: str, *, distinct: bool) -> Statement:
    """Read the newest of the messages that `hits` selects: of a query, then the values given here, then a limit."""
    conditions, given = begins(exact(prefix) or "")
    own = "SELECT m.id FROM {p}sessions s JOIN {p}messages m ON m.session = s.key WHERE "
    found = hits(own + " AND ".join(conditions) if conditions else "")
    if distinct:
        found = (
            f"SELECT max(m.id) AS id FROM ({found}) f JOIN {{p}}messages m ON m.id = f.id GROUP BY m.session"
        )
    text = f"SELECT s.id, m.seq, m.role, m.created, m.content FROM ({found} ORDER BY id DESC LIMIT ?) hit "
    joined = "JOIN {p}messages m ON m.id = hit.id JOIN {p}sessions s ON s.key = m.session ORDER BY m.id DESC"
    return text + joined, tuple(given)


def load(id: str, start: int, end: int | None) -> list[Statement]:
    """Read a session: to be given to `session_of`."""
    who, until = (exact(id),), ALL if end is None else end
    return [
        (f"{INFO} WHERE s.id = ?", who),
        (_MESSAGES, (*who, start, until)),
        (_CALLS, who),
        (_SUMMARY, (*who, until)),
        (_STATE, (*who, until)),
    ]


def create(
    info: SessionInfo,
    fence: str,
    messages: Sequence[Message],
    results: Sequence[StoredResult],
    state: str | None,
    calls: Sequence[StoredCall] = (),
) -> list[Statement]:
    """Make a session with what it begins with; the rest is stored only where the first made it."""
    who = exact(info.id)
    row = (
        *(who, info.created, info.updated, info.version, info.messages, values.encode_usage(info.usage)),
        *(exact(info.title), exact(info.model), info.expires, exact(info.parent), fence),
    )
    where = (who, fence, info.version)
    made: list[Statement] = [(_CREATE, row)]
    if info.instructions is not None:
        made.append((_INSTRUCTIONS, (exact(info.instructions), *where)))
    made += [(MESSAGE + _MADE, (*message_row(n, message), *where)) for n, message in enumerate(messages)]
    made += [(RESULT + _MADE, (exact(r.id), r.seq, exact(r.text), *where)) for r in results]
    if state is not None:
        made.append((STATE + _MADE, (info.messages, state, *where)))
    return made + [(CALL + _MADE, (*call_row(call), *where)) for call in calls]


def take(
    id: str,
    fence: str,
    owner: str,
    *,
    create: SessionSettings | None,
    version: int,
    sender_id: str | None,
) -> list[Statement]:
    """Take a session's lease; `create` makes it with a version if it isn't there. The row is for `Taken`."""
    who, sender = exact(id), exact(sender_id)
    if create is None:
        return [(_CLAIM, (fence, owner, who, fence, sender))]
    now = time.time()
    settings = (exact(create.get("title")), exact(create.get("model")), create.get("expires"))
    row = (who, now, now, version, *settings, exact(create.get("parent")), fence, owner, sender)
    statements: list[Statement] = [(_TAKE, row)]
    if (instructions := create.get("instructions")) is not None:
        statements.append((_INSTRUCTIONS, (exact(instructions), who, fence, version)))
    return statements


def files_column(files: Sequence[JsonObject]) -> str | None:
    """Encode the files of a message. Raises StoreError if they can't be stored."""
    return object_column("A message's files", {"files": [*files]})


def message_row(seq: int, message: Message, created: float | None = None) -> tuple[Any, ...]:
    """Make the values of a message's row; `created` if it has no time. Raises StoreError if it can't be stored."""
    if message.sender_id is not None:
        values.check_short("A sender's id", message.sender_id)
    role, content, text = values.encode_content(message.content)
    return (
        seq,
        created if message.created is None else message.created,
        role,
        content,
        values.encode_usage(message.usage),
        exact(message.finish_reason),
        exact(message.model),
        exact(message.endpoint),
        object_column("Metadata", message.metadata),
        exact(message.sender_id),
        files_column(message.files) if message.files else None,
        object_column("What is cleared", {**message.cleared}) if message.cleared else None,
        object_column("What was given", message.given),
        indexed(text),
    )


def call_row(call: StoredCall) -> tuple[Any, ...]:
    """Make the values of a row of the ledger. Raises StoreError if it can't be stored."""
    return (
        call.index,
        exact(call.call_id),
        exact(call.name),
        call.effect,
        object_column("Arguments", call.args),
        int(call.started),
        object_column("A response", call.response),
        object_column("What a call waits for", call.deferred),
        exact(call.why),
        exact(call.declared),
    )


def object_column(what: str, value: object) -> str | None:
    """Encode an object; None stays None. Raises StoreError, which calls it `what`, if it can't be JSON."""
    return None if value is None else values.encode_object(what, value)


# -- rows


def info_of(row: Row) -> SessionInfo:
    """Make a session's info of a row that `INFO` selects.

    It never fails, for what was said is worth more: usage that can't be read counts as none, and of a text what can be
    read is shown. `check()` tells.
    """
    id, created, updated, version, messages, usage, title, model, instructions, expires, parent, *_ = row
    return SessionInfo(
        id=shown(id) or "",
        created=created,
        updated=updated,
        version=version,
        messages=max(0, messages),
        usage=_usage(usage) or Usage(),
        title=shown(title),
        model=shown(model),
        instructions=shown(instructions),
        expires=expires,
        parent=shown(parent),
    )


def session_of(
    name: str, info: SessionInfo, messages: Sequence[Row], calls: Sequence[Row], summary: Sequence[Row],
    state: Sequence[Row], *, start: int = 0, end: int | None = None,
) -> StoredSession:  # fmt: skip
    """Make a session of its rows, of which `name` has been asked.

    Raises:
        DamagedMessage: A message can't be read, is missing, or is beyond those that the session counts.
    """

    def sound(what: str, read: Callable[[], T]) -> T | StoreError:
        try:
            return read()
        except ValueError as error:
            return StoreError(f"{name} is damaged: the {what} of session {info.id!r} can't be read, {error}.")

    count = info.messages
    said = [_message(name, info.id, start + n, row) for n, row in enumerate(messages)]
    upto, until = start + len(said), count if end is None else min(count, end)
    if upto < until:
        raise _damaged(name, info.id, upto, f"it isn't there, though {count} are counted", until)
    if said and upto > count:
        raise _damaged(name, info.id, max(start, count), f"only {count} are counted", upto)
    return StoredSession(
        info=info,
        messages=said,
        ledger=sound("ledger", lambda: [*map(_call, calls)]) if calls else (),
        summary=_summary(summary[0], count) if summary else None,
        own=sound("state", lambda: values.decode_object(state[0][0])) if state else {},
    )


def _damaged(name: str, id: str, seq: int, why: object, end: int | None = None) -> DamagedMessage:
    said = f"message {seq} of session {id!r} can't be read ({why}); those before it can"
    return DamagedMessage(f"{name} is damaged: {said}.", seq=seq, end=end)


def shown(text: str | bytes | None) -> str | None:
    """Undo `exact`; of bytes, which stand for a text that couldn't be read, make what can be shown."""
    return text.decode(errors="replace") if isinstance(text, bytes) else maybe(text)


def _usage(raw: str | bytes | None) -> Usage | None:
    """Decode a usage; one that can't be read counts as missing."""
    try:
        return values.decode_usage(raw)
    except ValueError:
        return None


def _summary(row: Row, count: int) -> StoredSummary | None:
    """Make a summary; None for one that can't be read or doesn't fit: then everything is sent."""
    upto, text = row
    return (
        None
        if isinstance(text, bytes) or not 0 <= upto <= count
        else StoredSummary(upto=upto, text=plain(text))
    )


def _message(name: str, id: str, seq: int, row: Row) -> Message:
    found, content, created, usage, finish_reason, model, endpoint, metadata, sender_id, *notes = row
    if found != seq:
        raise _damaged(name, id, seq, "it isn't there", found)
    files, cleared, given = notes
    what = "content"
    try:
        said = values.decode_content(content)
        check_shape(said, seq)
        what = "files or cleared"
        listed, stand_ins = values.decode_notes(files, cleared)
        what = "metadata"
        about = None if metadata is None else values.decode_object(metadata)
        what = "given"
        gave = None if given is None else values.decode_object(given)
        what = "text"
        return Message(  # most of it is None
            content=said,
            created=created,
            usage=None if usage is None else _usage(usage),
            finish_reason=None if finish_reason is None else plain(finish_reason),
            model=None if model is None else plain(model),
            endpoint=None if endpoint is None else plain(endpoint),
            metadata=about,
            sender_id=None if sender_id is None else plain(sender_id),
            given=gave,
            files=listed,
            cleared=stand_ins,
        )
    except ValueError as error:
        raise _damaged(name, id, seq, error if what == "content" else f"its {what}: {error}") from error


def _call(row: Row) -> StoredCall:
    number, call_id, name, effect, args, started, response, deferred, why, declared = row
    try:
        return StoredCall(
            index=number,
            call_id=plain(call_id),
            name=plain(name),
            effect=effect,
            args=None if args is None else values.decode_object(args),
            started=bool(started),
            response=None if response is None else values.decode_object(response),  # type: ignore[arg-type]
            deferred=None if deferred is None else values.decode_object(deferred),
            why=maybe(why),
            declared=maybe(declared),
        )
    except ValueError as error:
        raise Damaged(f"call {number}: {error}") from error


def is_open(row: Row) -> bool:
    """Return whether a call of the ledger has no response yet."""
    return row[6] is None
