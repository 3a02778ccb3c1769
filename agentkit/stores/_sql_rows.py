"""What a `SQLStore` reads from its tables and writes to them, given a connection."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, assert_never

import sqlalchemy as sa

from agentkit.limits import Usage
from agentkit.stores._sql_schema import calls, messages, results, sessions, summaries
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
    session_exists,
    session_lost,
    snippet,
    word_list,
)
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    DeferCall,
    FinishCall,
    Hit,
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

SEARCHED = 400_000
"""Bytes of a message's words that a search sees: PostgreSQL indexes 1 MiB of them, positions included."""


class Rows:
    """The rows as one transaction sees them."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._postgres = connection.dialect.name == "postgresql"

    def _run(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, rows)

    def _first(self, statement: sa.Executable) -> Any:
        return self._run(statement).first()

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
                    deferred=decode_state(row.deferred),
                )
                for row in self._run(of_calls)
            ],
            summary=StoredSummary(upto=summary.upto, text=summary.summary) if summary else None,
        )

    def result(self, id: str, result_id: str) -> str | None:  # noqa: A002
        """Read a result's text, if there is one. Raises SessionNotFound."""
        of_session = sessions.outerjoin(
            results, (results.c.session_id == sessions.c.id) & (results.c.id == result_id)
        )
        found = sa.select(results.c.result).select_from(of_session).where(sessions.c.id == id)
        if (row := self._first(found)) is None:
            raise no_session(id)
        return row.result  # type: ignore[no-any-return]

    def results(self, id: str) -> Sequence[StoredResult]:  # noqa: A002
        """Read a session's results. Raises SessionNotFound."""
        self.info(id)
        found = sa.select(results).where(results.c.session_id == id).order_by(results.c.seq, results.c.id)
        return [StoredResult(id=row.id, seq=row.seq, text=row.result) for row in self._run(found)]

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

    def create(
        self, info: SessionInfo, contents: Sequence[StoredMessage], texts: Sequence[StoredResult]
    ) -> None:
        """Add a session. Raises SessionExists."""
        columns = {field.name: getattr(info, field.name) for field in fields(info)}
        try:
            self._run(sessions.insert().values({**columns, "usage": encode_usage(info.usage)}))
        except sa.exc.IntegrityError:
            raise session_exists(info.id) from None
        if contents:
            self._run(messages.insert(), [_message(info.id, message) for message in contents])
        for result in texts:
            self._run(_insert_result(info.id, result))

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

    def disclaim(self, id: str, owner: str) -> None:  # noqa: A002
        """Note that nobody has a session, unless another than `owner` has it by now."""
        mine = sessions.c.id == id, sessions.c.owner == owner
        self._run(sessions.update().where(*mine).values(owner=None))

    def fence(self, id: str) -> str | None:  # noqa: A002
        """Wait for whoever is changing a session, and read its fence."""
        row = self._first(sa.select(sessions.c.fence).where(sessions.c.id == id).with_for_update())
        return row and row.fence  # type: ignore[no-any-return]

    def append(self, id: str, fence: str, next_fence: str, steps: Sequence[Step]) -> None:  # noqa: A002
        """Store steps, and put another fence in place.

        Raises:
            SessionConflict: The fence isn't the one there.
            StoreError: A step doesn't fit the session.
        """
        row = self._first(sa.select(sessions).where(sessions.c.id == id).with_for_update())
        if row is None or row.fence != fence:
            raise session_lost(id)
        change = _Change(self._run, row)
        for step in steps:
            change.apply(step)
        change.finish(next_fence)

    def update(self, id: str, **columns: Any) -> None:  # noqa: A002
        """Change what is known of a session. Raises SessionNotFound."""
        change = sessions.update().where(sessions.c.id == id)
        if self._run(change.values(**columns, version=sessions.c.version + 1)).rowcount == 0:
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

    def __init__(self, run: Any, session: Any) -> None:
        self._run = run
        self._id = session.id
        self._count, self._usage = session.messages, session.usage
        self._updated, self._version = session.updated, session.version
        self._used: list[Usage | None] = []
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
            case DeferCall():
                self._change_calls([step.index], started=0, deferred=encode_state(step.state).decode())
            case SaveResult():
                check_result(step)
                same = results.c.session_id == self._id, results.c.id == step.id
                self._run(results.delete().where(*same))
                result = StoredResult(id=step.id, seq=self._count, text=step.text)
                self._run(_insert_result(self._id, result))
            case Cut():
                check_position(step, step.seq, self._count)
                self._insert_added()
                self._count, self._updated = step.seq, time.time()
                for table, column in (
                    (messages, messages.c.seq),
                    (results, results.c.seq),
                    (summaries, summaries.c.upto - 1),
                ):
                    self._run(table.delete().where(table.c.session_id == self._id, column >= step.seq))
                self._clear_calls()
            case AddUsage():
                self._used.append(step.usage)
            case SaveSummary():
                check_position(step, step.upto, self._count)
                row = {"session_id": self._id, "version": self._version, "upto": step.upto}
                self._run(summaries.insert().values(**row, summary=step.text))
            case _:
                assert_never(step)

    def finish(self, fence: str) -> None:
        """Write what is left to write."""
        self._insert_added()
        mine = sessions.update().where(sessions.c.id == self._id)
        self._run(
            mine.values(
                version=self._version,
                messages=self._count,
                usage=more_usage(self._usage, self._used),
                updated=self._updated,
                fence=fence,
            )
        )

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
        self._used.append(step.usage)
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


def _insert_result(id: str, result: StoredResult) -> sa.Insert:  # noqa: A002
    return results.insert().values(session_id=id, id=result.id, seq=result.seq, result=result.text)


def _call(id: str, call: StoredCall) -> dict[str, Any]:  # noqa: A002
    return {
        "session_id": id,
        "idx": call.index,
        "call_id": call.call_id,
        "name": call.name,
        "effect": call.effect,
        "started": int(call.started),
        "response": None if call.response is None else encode_part(call.response).decode(),
        "deferred": None if call.deferred is None else encode_state(call.deferred).decode(),
    }
