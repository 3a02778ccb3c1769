"""The tables of `SQLStore`, and what is read from them and written to them, given a connection."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, assert_never

import sqlalchemy as sa

from agentkit.limits import Usage
from agentkit.stores._values import (
    check_position,
    decode_content,
    decode_part,
    decode_usage,
    encode_content,
    encode_part,
    encode_usage,
    no_open_call,
    no_session,
    session_exists,
    session_lost,
    snippet,
    sum_usage,
    word_list,
)
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    FinishCall,
    Hit,
    SaveSummary,
    SessionInfo,
    StartCalls,
    Step,
    StoredCall,
    StoredMessage,
    StoredSession,
    StoredSummary,
)

SEARCHED = 400_000
"""Bytes of a message's words that a search sees: PostgreSQL indexes 1 MiB of them, positions included."""

# In SQL that both databases understand; a migration that was released is never changed. A bool is 0 or 1.
_TYPES = {
    "postgresql": {"key": 'TEXT COLLATE "C"', "int": "BIGINT", "float": "DOUBLE PRECISION", "strict": ""},
    "sqlite": {"key": "TEXT", "int": "INTEGER", "float": "REAL", "strict": " STRICT"},
}
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE agentkit_sessions ("
        " id {key} PRIMARY KEY, created {float} NOT NULL, updated {float} NOT NULL, version {int} NOT NULL,"
        " messages {int} NOT NULL, usage TEXT NOT NULL, title TEXT, model TEXT, instructions TEXT,"
        " expires {float}, parent TEXT, fence TEXT, owner TEXT){strict}",
        "CREATE INDEX agentkit_sessions_updated ON agentkit_sessions (updated, id)",
        "CREATE INDEX agentkit_sessions_expires ON agentkit_sessions (expires) WHERE expires IS NOT NULL",
        "CREATE TABLE agentkit_messages ("
        " session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE, seq {int} NOT NULL,"
        " created {float} NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL, usage TEXT,"
        " finish_reason TEXT, words TEXT NOT NULL, PRIMARY KEY (session_id, seq)){strict}",
        "CREATE TABLE agentkit_calls ("
        " session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE, idx {int} NOT NULL,"
        " call_id TEXT NOT NULL, name TEXT NOT NULL, effect TEXT NOT NULL, started {int} NOT NULL,"
        " response TEXT, PRIMARY KEY (session_id, idx)){strict}",
        "CREATE TABLE agentkit_summaries ("
        " session_id {key} NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,"
        " version {int} NOT NULL, upto {int} NOT NULL, summary TEXT NOT NULL,"
        " PRIMARY KEY (session_id, version)){strict}",
        "postgresql: CREATE INDEX agentkit_messages_words ON agentkit_messages"
        " USING gin (to_tsvector('simple', words))",
    ),
)

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
    sa.Column("fence", sa.Text),  # the mark of the last writer, new for each
    sa.Column("owner", sa.Text),  # where the database has no locks that end with a process: that process
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
)
summaries = sa.Table(
    "agentkit_summaries",
    _metadata,
    sa.Column("session_id", Exact, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("upto", sa.BigInteger),
    sa.Column("summary", Exact),
)


class Rows:
    """The rows as one transaction sees them."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._postgres = connection.dialect.name == "postgresql"

    def _run(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, rows)

    def _first(self, statement: sa.Executable) -> Any:
        return self._run(statement).first()

    # -- the schema

    def schema_version(self) -> int:
        """Say which migration was applied last; 0 is none."""
        if not sa.inspect(self._connection).has_table(versions.name):
            return 0
        return int(self._first(sa.select(sa.func.coalesce(sa.func.max(versions.c.version), 0)))[0])

    def migrate(self, version: int) -> None:
        """Apply the migrations after `version`."""
        types = _TYPES[self._connection.dialect.name]
        if version == 0:
            self._ddl(
                "CREATE TABLE agentkit_schema (version {int} PRIMARY KEY, applied {float}){strict}", types
            )
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                if not statement.startswith("postgresql: "):
                    self._ddl(statement, types)
                elif self._postgres:
                    self._ddl(statement.removeprefix("postgresql: "), types)
            self._run(versions.insert().values(version=number, applied=time.time()))

    def _ddl(self, statement: str, types: dict[str, str]) -> None:
        self._connection.exec_driver_sql(statement.format_map(types))

    # -- reading

    def info(self, id: str) -> SessionInfo:  # noqa: A002 - what it is
        """Read a session's row. Raises SessionNotFound."""
        row = self._first(sa.select(sessions).where(sessions.c.id == id))
        if row is None:
            raise no_session(id)
        return _info(row)

    def load(self, id: str) -> StoredSession:  # noqa: A002
        """Read a session. Raises SessionNotFound."""
        info = self.info(id)
        of_messages = sa.select(messages).where(messages.c.session_id == id).order_by(messages.c.seq)
        of_calls = sa.select(calls).where(calls.c.session_id == id).order_by(calls.c.idx)
        newest = sa.select(summaries).where(summaries.c.session_id == id).order_by(summaries.c.version.desc())
        summary = self._first(newest.limit(1))
        return StoredSession(
            info=info,
            messages=[
                StoredMessage(
                    seq=row.seq,
                    content=decode_content(row.content),
                    created=row.created,
                    usage=decode_usage(row.usage),
                    finish_reason=row.finish_reason,
                )
                for row in self._run(of_messages)
            ],
            calls=[
                StoredCall(
                    index=row.idx,
                    call_id=row.call_id,
                    name=row.name,
                    effect=row.effect,
                    started=bool(row.started),
                    response=decode_part(row.response),
                )
                for row in self._run(of_calls)
            ],
            summary=StoredSummary(upto=summary.upto, text=summary.summary) if summary else None,
        )

    def list(self, limit: int, after: SessionInfo | None) -> Sequence[SessionInfo]:
        """Read the rows of a page of sessions."""
        place = (sessions.c.updated, sessions.c.id)
        page = sa.select(sessions).order_by(*(column.desc() for column in place)).limit(limit)
        if after:
            page = page.where(sa.tuple_(*place) < sa.tuple_(after.updated, after.id))
        return [_info(row) for row in self._run(page)]

    def search(self, text: str, limit: int) -> Sequence[Hit]:
        """Find the messages with all the words."""
        wanted = list(dict.fromkeys(word_list(text)))
        if not wanted:
            return []
        found = sa.select(messages)
        if self._postgres:
            # The index is on just this expression. Words have no operator in them, so this is no query language.
            vector = sa.func.to_tsvector(sa.literal_column("'simple'"), messages.c.words)
            query = sa.func.plainto_tsquery(sa.literal_column("'simple'"), " ".join(wanted))
            best = sa.func.ts_rank(vector, query).desc()
            found = found.where(vector.bool_op("@@")(query)).order_by(best)
        else:
            missing = "SELECT 1 FROM json_each(:wanted) WHERE instr(words, ' ' || value || ' ') = 0"
            found = found.where(sa.text(f"NOT EXISTS ({missing})").bindparams(wanted=json.dumps(wanted)))
        found = found.order_by(messages.c.created.desc(), messages.c.session_id, messages.c.seq.desc())
        return [
            Hit(
                session_id=row.session_id,
                seq=row.seq,
                role=row.role,
                created=row.created,
                snippet=snippet(encode_content(decode_content(row.content)).text, set(wanted)),
            )
            for row in self._run(found.limit(limit))
        ]

    # -- writing

    def create(self, info: SessionInfo, contents: Sequence[StoredMessage]) -> None:
        """Add a session. Raises SessionExists."""
        columns = {field.name: getattr(info, field.name) for field in fields(info)}
        try:
            self._run(sessions.insert().values({**columns, "usage": encode_usage(info.usage)}))
        except sa.exc.IntegrityError:
            raise session_exists(info.id) from None
        if contents:
            self._run(messages.insert(), [_message(info.id, message) for message in contents])

    def claim(self, id: str, fence: str, owner: str | None) -> SessionInfo:  # noqa: A002
        """Make `fence` the one mark that a writer must show. Raises SessionNotFound."""
        mine = sessions.update().where(sessions.c.id == id).values(fence=fence, owner=owner)
        if (row := self._first(mine.returning(sessions))) is None:
            raise no_session(id)
        return _info(row)

    def owner(self, id: str) -> str | None:  # noqa: A002
        """Say who has claimed a session, if it is noted. Raises SessionNotFound."""
        if (row := self._first(sa.select(sessions.c.owner).where(sessions.c.id == id))) is None:
            raise no_session(id)
        return row.owner  # type: ignore[no-any-return]

    def disclaim(self, id: str, fence: str) -> None:  # noqa: A002
        """Note that nobody has the session, unless another has it by now."""
        mine = sessions.c.id == id, sessions.c.fence == fence
        self._run(sessions.update().where(*mine).values(fence=None, owner=None))

    def version(self, id: str, fence: str) -> int:  # noqa: A002
        """Lock a session's row and say its version. Raises SessionConflict if the fence is another's by now."""
        return self._lock(id, fence).version

    def _lock(self, id: str, fence: str) -> SessionInfo:  # noqa: A002
        row = self._first(sa.select(sessions).where(sessions.c.id == id).with_for_update())
        if row is None or row.fence != fence:
            raise session_lost(id)
        return _info(row)

    def append(self, id: str, fence: str, version: int, steps: Sequence[Step]) -> int:  # noqa: A002
        """Store steps; return the session's new version.

        Raises:
            SessionConflict: The fence is another's by now, or the version isn't the one last seen.
            StoreError: A step doesn't fit the session.
        """
        info = self._lock(id, fence)
        if info.version != version:
            raise session_lost(id)
        change = _Change(self._run, info)
        for step in steps:
            change.apply(step)
        return change.finish()

    def update(self, id: str, **columns: Any) -> None:  # noqa: A002
        """Change a session's row. Raises SessionNotFound."""
        if self._run(sessions.update().where(sessions.c.id == id).values(**columns)).rowcount == 0:
            raise no_session(id)

    def delete(self, id: str) -> None:  # noqa: A002
        """Delete a session; the rest of its rows go with it. Raises SessionNotFound."""
        if self._run(sessions.delete().where(sessions.c.id == id)).rowcount == 0:
            raise no_session(id)

    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        return self._run(sessions.delete().where(sessions.c.expires <= now)).rowcount


class _Change:
    """Steps on their way into the rows of a session, whose own row is written last."""

    def __init__(self, run: Any, info: SessionInfo) -> None:
        self._run = run
        self._id = info.id
        self._count, self._usage = info.messages, info.usage
        self._updated, self._version = info.updated, info.version
        self._added: list[dict[str, Any]] = []
        self._no_calls = False

    def apply(self, step: Step) -> None:
        """Apply a step. Raises StoreError if it doesn't fit."""
        self._version += 1
        match step:
            case AddMessage():
                self._add(step)
            case StartCalls():
                self._change_calls(step.indexes, started=int(step.started))
            case FinishCall():
                self._change_calls([step.index], response=encode_part(step.response).decode())
            case Cut():
                check_position(step, step.seq, self._count)
                self._insert_added()
                self._count, self._updated = step.seq, time.time()
                for table, column in ((messages, messages.c.seq), (summaries, summaries.c.upto - 1)):
                    self._run(table.delete().where(table.c.session_id == self._id, column >= step.seq))
                self._clear_calls()
            case AddUsage():
                self._usage += step.usage
            case SaveSummary():
                check_position(step, step.upto, self._count)
                row = {"session_id": self._id, "version": self._version, "upto": step.upto}
                self._run(summaries.insert().values(**row, summary=step.text))
            case _:
                assert_never(step)

    def finish(self) -> int:
        """Write what is left to write; return the session's new version."""
        self._insert_added()
        mine = sessions.update().where(sessions.c.id == self._id)
        self._run(
            mine.values(
                version=self._version,
                messages=self._count,
                usage=encode_usage(self._usage),
                updated=self._updated,
            )
        )
        return self._version

    def _add(self, step: AddMessage) -> None:
        self._updated = time.time()
        message = StoredMessage(
            seq=self._count,
            content=step.content,
            created=self._updated if step.created is None else step.created,
            usage=step.usage,
            finish_reason=step.finish_reason,
        )
        self._added.append(_message(self._id, message))
        self._count += 1
        self._usage = sum_usage((self._usage, step.usage))
        self._clear_calls()
        if step.calls:
            self._run(calls.insert(), [_call(self._id, call) for call in step.calls])
            self._no_calls = False

    def _insert_added(self) -> None:
        if self._added:
            self._run(messages.insert(), self._added)
            self._added = []

    def _clear_calls(self) -> None:
        if not self._no_calls:
            self._run(calls.delete().where(calls.c.session_id == self._id))
            self._no_calls = True

    def _change_calls(self, indexes: Sequence[int], **columns: Any) -> None:
        of_session = (calls.c.session_id == self._id, calls.c.response.is_(None))
        for index in indexes:
            change = calls.update().where(*of_session, calls.c.idx == index).values(**columns)
            if self._run(change).rowcount == 0:
                raise no_open_call(index)


def _info(row: Any) -> SessionInfo:
    return SessionInfo(
        id=row.id,
        created=row.created,
        updated=row.updated,
        version=row.version,
        messages=row.messages,
        usage=decode_usage(row.usage) or Usage(),
        title=row.title,
        model=row.model,
        instructions=row.instructions,
        expires=row.expires,
        parent=row.parent,
    )


def _message(id: str, message: StoredMessage) -> dict[str, Any]:  # noqa: A002
    encoded = encode_content(message.content)
    words = f" {' '.join(word_list(encoded.text))} ".encode()
    if len(words) > SEARCHED:
        words = words[: words.rindex(b" ", 0, SEARCHED) + 1]
    return {
        "session_id": id,
        "seq": message.seq,
        "created": message.created,
        "role": encoded.role,
        "content": encoded.json.decode(),
        "usage": encode_usage(message.usage),
        "finish_reason": message.finish_reason,
        "words": words.decode(),
    }


def _call(id: str, call: StoredCall) -> dict[str, Any]:  # noqa: A002
    return {
        "session_id": id,
        "idx": call.index,
        "call_id": call.call_id,
        "name": call.name,
        "effect": call.effect,
        "started": int(call.started),
        "response": None if call.response is None else encode_part(call.response).decode(),
    }
