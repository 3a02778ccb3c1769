"""The store of sessions, once, over what a database does in its own way: its `Dialect`."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from agentkit.errors import StoreError
from agentkit.limits import total_of
from agentkit.stores import _values as values
from agentkit.stores import rows, search
from agentkit.stores.base import (
    Hit,
    Message,
    SessionInfo,
    SessionSettings,
    StoredCall,
    StoredResult,
    StoredSession,
)
from agentkit.stores.check import problems
from agentkit.stores.dialect import Dialect
from agentkit.stores.schema import exact, maybe, plain
from agentkit.stores.turns import TURNS, Turn
from agentkit.stores.writer import Lease, Writer
from agentkit.wire.arguments import checked


class SessionStore:
    """Keeps sessions. All methods may be called from any thread; any number of processes may share a store."""

    def __init__(self, dialect: Dialect) -> None:
        self._db = dialect
        self._held: set[Lease] = set()
        self._dropped: deque[Lease] = deque()
        """Those of the leases that nobody has any more, but may still be in the database."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._db.name!r})"

    @property
    def identity(self) -> Hashable:
        """The same for all objects of this process that keep the same sessions, and for no others."""
        return self._db.identity

    # -- reading

    @checked
    def load(self, id: str, *, start: int = 0, end: int | None = None) -> StoredSession:
        """Read a session, but none of its results; of its messages those of `[start:end]`.

        Summary and state are as they were when there were `end` messages.

        Raises:
            ConfigurationError: `start` is negative.
            SessionNotFound: There is no such session.
            DamagedMessage: One of the messages can't be read. Others can, by `start` and `end`.
            StoreError: It can't be read. Where only its ledger or its state is damaged, whoever asks for that is told.
        """
        values.check_start(start)
        return self._session(id, self._db.run(rows.load(id, start, end), write=False), start, end)

    @checked
    def info(self, id: str) -> SessionInfo:
        """Read what is known of a session without its messages. Raises SessionNotFound."""
        return rows.info_of(self._row(f"{rows.INFO} WHERE s.id = ?", id))

    @checked
    def result(self, id: str, result_id: str) -> str | None:
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        one = "SELECT text FROM {p}results r WHERE r.session = s.key AND r.id = ?"
        text = f"SELECT ({one}) FROM {{p}}sessions s WHERE s.id = ?"
        row = self._row(text, id, exact(result_id))
        with self._reading():
            return maybe(row[0])

    @checked
    def results(self, id: str) -> Sequence[StoredResult]:
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        who = (exact(id),)
        there = "SELECT 1 FROM {p}sessions WHERE id = ?"
        found, results = self._db.run([(there, who), (rows.RESULTS, who)], write=False)
        _one(found, id)
        with self._reading():
            return [StoredResult(id=plain(key), seq=seq, text=plain(text)) for key, seq, text in results]

    @checked
    def list(
        self, *, limit: int = 50, after: SessionInfo | None = None, prefix: str = ""
    ) -> Sequence[SessionInfo]:
        """List sessions whose ids begin so, the last updated first; `after` is the last one of the page before."""
        conditions, given = rows.begins(exact(prefix) or "")
        if after is not None:
            conditions.append("(s.updated, s.id) < (?, ?)")
            given += [after.updated, exact(after.id)]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        text = f"{rows.INFO} {where} ORDER BY s.updated DESC, s.id DESC LIMIT ?"
        (found,) = self._db.run([(text, (*given, max(0, limit)))], write=False)
        return [rows.info_of(row) for row in found]

    @checked
    def search(
        self, text: str, *, limit: int = 20, prefix: str = "", distinct: bool = False
    ) -> Sequence[Hit]:
        """Find messages that have all the words, the newest first.

        Args:
            text: Whatever it holds is words, not a query.
            limit: How many at most.
            prefix: How the ids of the sessions begin that are searched: all by default.
            distinct: Whether of each session only the newest is found.
        """
        if not (wanted := search.query(text)):
            return []
        statement, given = rows.search(self._db.hits, prefix, distinct=distinct)
        found_by = (self._db.query(wanted), *given, max(0, limit))
        (found,) = self._db.run([(statement, found_by)], write=False)
        return [
            Hit(
                session_id=rows.shown(id) or "",
                seq=seq,
                role=role,
                created=created,
                snippet=search.snippet(values.readable_text(content), wanted),
            )
            for id, seq, role, created, content in found
        ]

    def check(self) -> Sequence[str]:
        """Look whether the database is sound; return what is wrong with it, one line each. It reads everything."""
        try:
            told = [*self._db.check()]
            return told or [*problems(self._db.name, lambda given: self._db.run(given, write=False))]
        except StoreError as error:
            return [str(error)]

    # -- changing

    @checked
    def create(
        self,
        id: str,
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires: float | None = None,
        parent: str | None = None,
        messages: Sequence[Message] = (),
        results: Sequence[StoredResult] = (),
        state: dict[str, Any] | None = None,
        calls: Sequence[StoredCall] = (),
    ) -> SessionInfo:
        """Make a session, with messages that it begins with (their times are kept), and what belongs to these.

        Raises:
            SessionExists: There is one of that id.
            StoreError: It can't be written, or the messages or results don't fit each other; nothing was.
        """
        values.check_id(id)
        values.check_results(results, len(messages))
        now = time.time()
        info = SessionInfo(
            id=id,
            created=now,
            updated=now,
            version=values.first_version(),
            messages=len(messages),
            usage=total_of(message.usage for message in messages if message.usage),
            title=title,
            model=model,
            instructions=instructions,
            expires=expires,
            parent=parent,
        )
        kept = values.encode_object("A state", state) if state else None
        statements = rows.create(info, secrets.token_hex(16), messages, results, kept, calls)
        made, *_ = self._db.run(statements, again=len(statements) == 1)
        if not made:
            raise values.session_exists(id)
        return info

    @checked
    def rename(self, id: str, title: str | None) -> None:
        """Give a session a title. Raises SessionNotFound."""
        self._update("SET title = ?, version = version + 1", id, exact(title))

    @checked
    def expire(self, id: str, at: float | None) -> None:
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        self._update("SET expires = ?, version = version + 1", id, None if at is None else float(at))

    @checked
    def delete(self, id: str) -> None:
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        (found,) = self._db.run([("DELETE FROM {p}sessions WHERE id = ?", (exact(id),))])
        _one(found, id)
        TURNS.evict((self.identity, id))

    @checked
    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        (found,) = self._db.run([("DELETE FROM {p}sessions WHERE expires <= ? RETURNING id", (float(now),))])
        for (id,) in found:
            TURNS.evict((self.identity, plain(id)))
        return len(found)

    # -- writing

    def write(
        self,
        id: str,
        *,
        wait: float = 0.0,
        create: SessionSettings | None = None,
        seen: int | None = None,
        sender_id: str | None = None,
        turn: Turn | None = None,
    ) -> Writer:
        """Become the writer of a session; what the caller hasn't seen is read once it is.

        Args:
            id: The session's.
            wait: Seconds to wait for another writer to be done.
            create: What to make the session with if it isn't there.
            seen: The version that the caller knows; if there is another, the writer comes with the session.
            sender_id: Of a message that is to be looked for; see `Writer.sent`.
            turn: What the caller holds of `agentkit.stores.turns` already; None waits here for one.

        Raises:
            SessionNotFound: There is no such session.
            SessionConflict: Another writer has it, and still had after `wait`.
        """
        if create is not None:
            values.check_id(id)
        until = time.monotonic() + wait
        mine = turn or TURNS.enter((self.identity, id), wait)
        if mine is None:
            raise values.session_busy(id, "another thread or task of this process")
        lease = None
        try:
            while True:
                lease = Lease(id, mine, own_turn=turn is None)
                writer = self._take(lease, create, seen, sender_id)
                if writer is not None:
                    return writer
                owner = self._row("SELECT owner FROM {p}sessions WHERE id = ?", id)[0]
                left = until - time.monotonic()
                if owner is not None and left <= 0:
                    raise values.session_busy(id, self._db.holder(owner))
                self._db.wait(id, max(left, 0))
        except BaseException:
            if turn is None:
                TURNS.leave(mine)
            raise

    def wait(self, id: str, seconds: float) -> None:
        """Wait until a writer in another process may have left a session, at most so long."""
        self._db.wait(id, seconds)

    def close(self) -> None:
        """Let go of files and connections. What was stored stays."""
        try:
            held = [*self._held]
            self._give_back(*held, patient=False)
            for lease in held:
                lease.leave_turn()
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _row(self, text: str, id: str, *given: Any) -> Any:
        (found,) = self._db.run([(text, (*given, exact(id)))], write=False)
        return _one(found, id)

    def _update(self, change: str, id: str, *given: Any) -> None:
        text = f"UPDATE {{p}}sessions {change} WHERE id = ?"
        (found,) = self._db.run([(text, (*given, exact(id)))], again=True)
        _one(found, id)

    def _session(
        self, id: str, found: Sequence[Any], start: int = 0, end: int | None = None
    ) -> StoredSession:
        info, *rest = found
        return rows.session_of(self._db.name, rows.info_of(_one(info, id)), *rest, start=start, end=end)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the database where a row can't be read."""
        try:
            yield
        except ValueError as error:
            raise StoreError(f"{self._db.name} is damaged: a row of it can't be read, {error}.") from error

    def _take(
        self, lease: Lease, create: SessionSettings | None, seen: int | None, sender_id: str | None
    ) -> Writer | None:
        """Take a lease and read what was asked for; None if somebody else has it."""
        if self._dropped:
            self._give_back(*(self._dropped.popleft() for _ in range(len(self._dropped))))
        version = values.first_version()
        statements = rows.take(
            lease.id,
            lease.fence,
            self._db.owner(),
            create=create,
            version=version,
            sender_id=sender_id,
        )
        self._held.add(lease)
        try:
            taken, *_ = self._db.run(statements, durable=False, again=True)
            if not taken:
                self._held.discard(lease)
                return None
            info, (key, has_calls, sent) = rows.info_of(taken[0]), taken[0][-3:]
            session: Callable[[], StoredSession] | None = None
            calls: list[Any] = []
            if create is not None and info.version == version:  # it was just made: there is nothing to read
                made = info = replace(info, instructions=create.get("instructions"))
                session = lambda: StoredSession(info=made, messages=())  # noqa: E731
            elif seen is not None and (
                seen < 0 or seen != info.version
            ):  # nobody else writes by now, or the fence is theirs
                found = self._db.run(rows.load(lease.id, 0, None), write=False)
                session, calls = (lambda: self._session(lease.id, found)), found[2]
            elif has_calls:
                (calls,) = self._db.run(rows.load(lease.id, 0, None)[2:3], write=False)
            opened = {call[0]: rows.is_open(call) for call in calls}
            return Writer(self, lease, key, info, opened, session, sent)
        except BaseException:  # an interrupt may come when the lease is stored already
            self._dropped.append(lease)
            raise

    def _give_back(self, *leases: Lease, patient: bool = True) -> None:
        """Let others take leases; what fails is tried again when the next one is taken. Never raises."""
        mine = [lease for lease in leases if lease.is_mine and lease in self._held]
        if not mine:
            return
        text = "UPDATE {p}sessions SET owner = NULL WHERE id = ? AND fence LIKE ? {tell}"
        try:
            given = [(text, (exact(lease.id), f"{lease.token}%")) for lease in mine]
            self._db.run(given, durable=False, patient=patient)
        except StoreError:
            self._dropped.extend(mine)
            return
        except BaseException:
            self._dropped.extend(mine)
            raise
        self._held.difference_update(mine)


def _one(found: Sequence[Any], id: str) -> Any:
    if not found:
        raise values.no_session(id)
    return found[0]
