"""Chats kept in memory, for tests and for programs that forget: `MemoryStore`."""

from __future__ import annotations

import builtins
import heapq
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, assert_never

from agentkit.limits import Usage
from agentkit.stores._values import (
    EncodedContent,
    check_id,
    check_numbers,
    check_position,
    check_result,
    check_results,
    decode_content,
    decode_part,
    decode_state,
    encode_content,
    encode_part,
    encode_state,
    first_version,
    no_open_call,
    no_session,
    session_busy,
    session_exists,
    session_lost,
    snippet,
    sum_usage,
    words,
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


@dataclass(frozen=True, slots=True)
class _Message:
    """A message without its number. Its content is bytes, so that what a caller changes stays the caller's."""

    content: EncodedContent
    created: float
    usage: Usage | None
    finish_reason: str | None


@dataclass(slots=True)
class _Session:
    info: SessionInfo
    messages: list[_Message]
    results: dict[str, StoredResult]
    calls: dict[int, StoredCall] = field(default_factory=dict)
    summaries: list[StoredSummary] = field(default_factory=list)
    writer: weakref.ref[_Writer] | None = None
    """A writer that nobody has any more is none."""


class MemoryStore:
    """Keeps sessions in this process's memory; they end with it. See `SessionStore` for the methods."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._changed = threading.Condition()

    def create(
        self,
        id: str,  # noqa: A002
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires: float | None = None,
        parent: str | None = None,
        messages: Sequence[StoredMessage] = (),
        results: Sequence[StoredResult] = (),
    ) -> SessionInfo:
        """Make a session; see `SessionStore.create`."""
        check_id(id)
        check_numbers(messages)
        check_results(results, len(messages))
        kept = [_Message(encode_content(m.content), m.created, m.usage, m.finish_reason) for m in messages]
        now = time.time()
        info = SessionInfo(
            id=id,
            created=now,
            updated=now,
            version=first_version(),
            messages=len(kept),
            usage=sum_usage(m.usage for m in messages),
            title=title,
            model=model,
            instructions=instructions,
            expires=expires,
            parent=parent,
        )
        with self._changed:
            if id in self._sessions:
                raise session_exists(id)
            self._sessions[id] = _Session(info, kept, {result.id: result for result in results})
        return info

    def load(self, id: str) -> StoredSession:  # noqa: A002
        """Read a session. Raises SessionNotFound."""
        with self._changed:
            session = self._get(id)
            info, messages = session.info, session.messages.copy()
            calls = sorted(session.calls.items())
            summary = session.summaries[-1] if session.summaries else None
        return StoredSession(
            info=info,
            messages=[
                StoredMessage(
                    seq=seq,
                    content=decode_content(m.content.json),
                    created=m.created,
                    usage=m.usage,
                    finish_reason=m.finish_reason,
                )
                for seq, m in enumerate(messages)
            ],
            calls=[_copied(call) for _, call in calls],
            summary=summary,
        )

    def info(self, id: str) -> SessionInfo:  # noqa: A002
        """Read what is known of a session without its messages. Raises SessionNotFound."""
        with self._changed:
            return self._get(id).info

    def result(self, id: str, result_id: str) -> str | None:  # noqa: A002
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        with self._changed:
            found = self._get(id).results.get(result_id)
        return found.text if found else None

    def results(self, id: str) -> Sequence[StoredResult]:  # noqa: A002
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        with self._changed:
            found = builtins.list(self._get(id).results.values())
        return sorted(found, key=lambda result: (result.seq, result.id))

    def write(self, id: str, *, wait: float = 0.0) -> _Writer:  # noqa: A002
        """Become the writer of a session; see `SessionStore.write`."""
        until = time.monotonic() + wait
        with self._changed:
            while (session := self._get(id)).writer and session.writer() is not None:
                left = until - time.monotonic()
                if left <= 0:
                    raise session_busy(id, "another thread or task of this process")
                self._changed.wait(min(left, 0.1))  # a writer that is only dropped tells nobody
            writer = _Writer(self, session)
            session.writer = weakref.ref(writer)
            return writer

    def list(self, *, limit: int = 50, after: SessionInfo | None = None) -> Sequence[SessionInfo]:
        """List sessions, the last updated first; `after` is the last one of the page before."""
        with self._changed:
            infos = [session.info for session in self._sessions.values()]
        before = (after.updated, after.id) if after else None
        rest = (info for info in infos if before is None or (info.updated, info.id) < before)
        return heapq.nlargest(limit, rest, key=lambda info: (info.updated, info.id))

    def search(self, text: str, *, limit: int = 20) -> Sequence[Hit]:
        """Find messages that have all the words of `text`, the newest first."""
        if not (wanted := words(text)):
            return []
        with self._changed:
            sessions = [(s.info.id, s.messages.copy()) for s in self._sessions.values()]
        hits = (
            Hit(
                session_id=id,
                seq=seq,
                role=message.content.role,
                created=message.created,
                snippet=snippet(message.content.text, wanted),
            )
            for id, messages in sessions  # noqa: A001
            for seq, message in enumerate(messages)
            if wanted <= words(message.content.text)
        )
        return heapq.nlargest(limit, hits, key=lambda hit: hit.created)

    def rename(self, id: str, title: str | None) -> None:  # noqa: A002
        """Give a session a title. Raises SessionNotFound."""
        with self._changed:
            session = self._get(id)
            session.info = replace(
                session.info, title=title, updated=time.time(), version=session.info.version + 1
            )

    def expire(self, id: str, at: float | None) -> None:  # noqa: A002
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        with self._changed:
            session = self._get(id)
            session.info = replace(session.info, expires=at, version=session.info.version + 1)

    def delete(self, id: str) -> None:  # noqa: A002
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        with self._changed:
            self._get(id)
            del self._sessions[id]

    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        with self._changed:
            expired = [
                id
                for id, session in self._sessions.items()  # noqa: A001
                if session.info.expires is not None and session.info.expires <= now
            ]
            for id in expired:  # noqa: A001
                del self._sessions[id]
        return len(expired)

    def close(self) -> None:
        """Do nothing: there is no file or connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, id: str) -> _Session:  # noqa: A002
        try:
            return self._sessions[id]
        except KeyError:
            raise no_session(id) from None

    def _append(self, writer: _Writer, target: _Session, steps: Sequence[Step]) -> None:
        with self._changed:
            info = target.info
            if (
                self._sessions.get(info.id) is not target
                or not target.writer
                or target.writer() is not writer
            ):
                raise session_lost(info.id)
            change = _Change(target)
            for step in steps:
                change.apply(step)
            change.commit()

    def _release(self, writer: _Writer, target: _Session) -> None:
        with self._changed:
            if target.writer and target.writer() is writer:
                target.writer = None
                self._changed.notify_all()


class _Change:
    """Steps applied beside a session, so that they can be dropped."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._kept = len(session.messages)
        self._added: list[_Message] = []
        self._calls = session.calls.copy()
        self._results: dict[str, StoredResult | None] = {}
        """What was saved, and None for what is gone."""
        self._summaries = session.summaries.copy()
        self._usage = session.info.usage
        self._updated = session.info.updated
        self._version = session.info.version

    @property
    def _count(self) -> int:
        return self._kept + len(self._added)

    def apply(self, step: Step) -> None:
        """Apply a step. Raises StoreError if it doesn't fit."""
        self._version += 1
        match step:
            case AddMessage():
                self._updated = now = time.time()
                created = now if step.created is None else step.created
                self._added.append(
                    _Message(encode_content(step.content), created, step.usage, step.finish_reason)
                )
                self._usage = sum_usage((self._usage, step.usage))
                self._calls = {call.index: _copied(call) for call in step.calls}
            case StartCalls():
                for index in step.indexes:
                    self._change_call(index, started=step.started)
            case FinishCall():
                self._change_call(step.index, response=decode_part(encode_part(step.response)))
            case DeferCall():
                deferred = decode_state(encode_state(step.state))
                self._change_call(step.index, deferred=deferred, started=False)
            case SaveResult():
                check_result(step)
                self._results[step.id] = StoredResult(id=step.id, seq=self._count, text=step.text)
            case Cut():
                check_position(step, step.seq, self._count)
                self._updated = time.time()
                self._added = self._added[: max(0, step.seq - self._kept)]
                self._kept = min(self._kept, step.seq)
                self._calls = {}
                there = {**self._session.results, **self._results}
                gone = (result.id for result in there.values() if result and result.seq >= step.seq)
                self._results.update(dict.fromkeys(gone))
                self._summaries = [summary for summary in self._summaries if summary.upto <= step.seq]
            case AddUsage():
                self._usage += step.usage
            case SaveSummary():
                check_position(step, step.upto, self._count)
                self._summaries.append(StoredSummary(upto=step.upto, text=step.text))
            case _:
                assert_never(step)

    def commit(self) -> None:
        """Put what was applied in the session's place."""
        session = self._session
        for id, result in self._results.items():  # noqa: A001
            if result:
                session.results[id] = result
            else:
                session.results.pop(id, None)
        session.messages[self._kept :] = self._added
        session.calls, session.summaries = self._calls, self._summaries
        session.info = replace(
            session.info,
            messages=self._count,
            usage=self._usage,
            updated=self._updated,
            version=self._version,
        )

    def _change_call(self, index: int, **changes: Any) -> None:
        call = self._calls.get(index)
        if call is None or call.response is not None:
            raise no_open_call(index)
        self._calls[index] = replace(call, **changes)


def _copied(call: StoredCall) -> StoredCall:
    """Copy a call by its JSON, so that what a caller changes stays the caller's. Raises StoreError."""
    return replace(
        call,
        response=None if call.response is None else decode_part(encode_part(call.response)),
        deferred=None if call.deferred is None else decode_state(encode_state(call.deferred)),
    )


class _Writer:
    """The writer of a session in memory; see `SessionWriter`."""

    def __init__(self, store: MemoryStore, target: _Session) -> None:
        self.info = target.info
        self._store = store
        self._target = target

    def load(self) -> StoredSession:
        """Read the session."""
        return self._store.load(self.info.id)

    def append(self, steps: Sequence[Step]) -> None:
        """Store steps, all or none of them; see `SessionWriter.append`."""
        self._store._append(self, self._target, steps)

    def release(self) -> None:
        """Let others write."""
        self._store._release(self, self._target)
