"""The store of sessions, once, over what a database does in its own way: its `Dialect`."""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from agentkit.errors import StoreError
from agentkit.stores import _values as values
from agentkit.stores import rows, search
from agentkit.stores.base import (
    DamagedMessage,
    Hit,
    Message,
    SessionInfo,
    SessionSettings,
    Step,
    StoredCall,
    StoredResult,
    StoredSession,
)
from agentkit.stores.changes import Change, Mirror
from agentkit.stores.check import problems
from agentkit.stores.dialect import Dialect, UnknownOutcome
from agentkit.stores.schema import exact, maybe, plain
from agentkit.stores.waiting import TURNS, Turn

_SENDS = 5
"""How often an append is sent at most, where a connection is lost each time."""


class _Lease:
    """The right to write a session, until it is given back.

    The lease is what others see and wait for. What keeps turns whole is the fence: a mark in the session's
    row, new for each writer and each of its appends, which an append must know while it has the row locked.
    So even a writer that lost its lease and hasn't noticed can't add to a turn of the next one.
    """

    def __init__(self, id: str, turn: Turn, *, own_turn: bool) -> None:
        self.id = id
        self.fence = secrets.token_hex(16)
        self._turn = turn
        self._own_turn = own_turn
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether it is this process's, and not that of one which this was forked from."""
        return self._pid == os.getpid()

    def leave_turn(self) -> None:
        """Let others of this process have their turn, if it was taken for this lease."""
        if self._own_turn and self.is_mine:
            TURNS.leave(self._turn)


class Store:
    """Keeps sessions in a database. See `SessionStore` for the methods."""

    def __init__(self, dialect: Dialect) -> None:
        self._db = dialect
        self._held: set[_Lease] = set()
        self._dropped: deque[_Lease] = deque()
        """Those of the leases that nobody has any more, but may still be in the database."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._db.name!r})"

    @property
    def identity(self) -> Hashable:
        """The same for all stores of this process on the same database."""
        return self._db.identity

    # -- reading

    def load(self, id: str, *, start: int = 0, end: int | None = None) -> StoredSession:
        """Read a session; see `SessionStore.load`."""
        info, *rest = self._db.run(rows.load(id, start, end), write=False)
        with self._reading():
            return rows.session_of(rows.info_of(_one(info, id)), *rest, start=start)

    def info(self, id: str) -> SessionInfo:
        """Read what is known of a session without its messages. Raises SessionNotFound."""
        row = self._row(f"{rows.INFO} WHERE s.id = ?", id)
        with self._reading():
            return rows.info_of(row)

    def result(self, id: str, result_id: str) -> str | None:
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        one = "SELECT text FROM {p}results r WHERE r.session = s.key AND r.id = ?"
        text = f"SELECT ({one}) FROM {{p}}sessions s WHERE s.id = ?"
        row = self._row(text, id, exact(result_id))
        with self._reading():
            return maybe(row[0])

    def results(self, id: str) -> Sequence[StoredResult]:
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        text = rows.part("SELECT id, seq, text FROM {p}results WHERE {of} ORDER BY seq, id", of=rows.BY_ID)
        who = (exact(id),)
        found, results = self._db.run(
            [("SELECT 1 FROM {p}sessions WHERE id = ?", who), (text, who)], write=False
        )
        _one(found, id)
        with self._reading():
            return [StoredResult(id=plain(key), seq=seq, text=plain(text)) for key, seq, text in results]

    def list(
        self, *, limit: int = 50, after: SessionInfo | None = None, prefix: str = ""
    ) -> Sequence[SessionInfo]:
        """List sessions whose ids begin so, the last updated first; `after` is the last one of the page before."""
        conditions, given = rows.begins(prefix)
        if after is not None:
            conditions.append("(s.updated, s.id) < (?, ?)")
            given += [after.updated, exact(after.id)]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        text = f"{rows.INFO} {where} ORDER BY s.updated DESC, s.id DESC LIMIT ?"
        (found,) = self._db.run([(text, (*given, max(0, limit)))], write=False)
        with self._reading():
            return [rows.info_of(row) for row in found]

    def search(self, text: str, *, limit: int = 20) -> Sequence[Hit]:
        """Find messages that have all the words of `text` (its first 32 different ones), the newest first."""
        if not (wanted := search.query(text)):
            return []
        statement = (
            f"SELECT s.id, m.seq, m.role, m.created, m.content FROM {self._db.hits} hit "
            "JOIN {p}messages m ON m.id = hit.id JOIN {p}sessions s ON s.key = m.session ORDER BY m.id DESC"
        )
        (found,) = self._db.run([(statement, (self._db.query(wanted), max(0, limit)))], write=False)
        with self._reading():
            return [
                Hit(
                    session_id=plain(id),
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
            return [*self._db.check()] or problems(lambda *given: self._db.run([given], write=False)[0])
        except StoreError as error:
            return [str(error)]

    # -- changing

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
        """Make a session; see `SessionStore.create`."""
        values.check_id(id)
        values.check_results(results, len(messages))
        now = time.time()
        info = SessionInfo(
            id=id,
            created=now,
            updated=now,
            version=values.first_version(),
            messages=len(messages),
            usage=values.sum_usage(message.usage for message in messages),
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

    def rename(self, id: str, title: str | None) -> None:
        """Give a session a title. Raises SessionNotFound."""
        self._update("SET title = ?, updated = ?, version = version + 1", id, exact(title), time.time())

    def expire(self, id: str, at: float | None) -> None:
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        self._update("SET expires = ?, version = version + 1", id, None if at is None else float(at))

    def delete(self, id: str) -> None:
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        (found,) = self._db.run([("DELETE FROM {p}sessions WHERE id = ? RETURNING key", (exact(id),))])
        _one(found, id)
        TURNS.evict((self.identity, id))

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
        """Become the writer of a session; see `SessionStore.write`.

        A writer whose process has ended is none, however it ended.
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
                lease = _Lease(id, mine, own_turn=turn is None)
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
        """Wait until a writer in another process may have left a session; see `SessionStore.wait`."""
        self._db.wait(id, seconds)

    def close(self) -> None:
        """Release this store's writers and close the database. What was stored stays."""
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
        text = f"UPDATE {{p}}sessions {change} WHERE id = ? RETURNING key"
        (found,) = self._db.run([(text, (*given, exact(id)))], again=True)
        _one(found, id)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the database where a row can't be read."""
        try:
            yield
        except DamagedMessage as error:
            raise DamagedMessage(f"{self._db.name} is damaged: {error}.", seq=error.seq) from error
        except ValueError as error:
            raise StoreError(f"{self._db.name} is damaged: a row of it can't be read, {error}.") from error

    def _take(
        self, lease: _Lease, create: SessionSettings | None, seen: int | None, sender_id: str | None
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
            seen=seen,
            sender_id=sender_id,
        )
        self._held.add(lease)
        try:
            taken, *found = self._db.run(statements, durable=False, again=True)
            if not taken:
                self._held.discard(lease)
                return None
            info = rows.info_of(taken[0])
            if create is not None and (instructions := create.get("instructions")) is not None:
                found.pop(0)
                if info.version == version:  # it was just made
                    info = replace(info, instructions=instructions)
            return _writer(self, lease, info, taken[0][-1], found, seen, sender_id)
        except BaseException:  # an interrupt may come when the lease is stored already
            self._dropped.append(lease)
            raise

    def _give_back(self, *leases: _Lease, patient: bool = True) -> None:
        """Let others take leases; what fails is tried again when the next one is taken. Never raises."""
        mine = [lease for lease in leases if lease.is_mine and lease in self._held]
        if not mine:
            return
        text = "UPDATE {p}sessions SET owner = NULL WHERE id = ? AND fence = ? RETURNING 0, {told}"
        try:
            given = [(text, (exact(lease.id), lease.fence)) for lease in mine]
            self._db.run(given, durable=False, patient=patient)
        except StoreError:
            self._dropped.extend(mine)
            return
        except BaseException:
            self._dropped.extend(mine)
            raise
        self._held.difference_update(mine)


def _writer(
    store: Store,
    lease: _Lease,
    info: SessionInfo,
    key: int,
    found: list[list[Any]],
    seen: int | None,
    sender_id: str | None,
) -> Writer:
    """Make a writer of what `rows.take` reads."""
    calls = found.pop(0)
    sent = found.pop(0) if sender_id is not None else []
    session: Callable[[], StoredSession] | None = None
    if seen is not None and info.version != seen:
        messages, summary, state = found
        session = lambda: rows.session_of(info, messages, calls, summary, state)  # noqa: E731
    mirror = Mirror(key, info, {call[0]: rows.is_open(call) for call in calls})
    return Writer(store, mirror, lease, session, sent[0][0] if sent else None)


def _dropped(lease: _Lease, dropped: deque[_Lease]) -> None:
    """Note, wherever a writer that nobody released is collected, that its lease is to be given back."""
    dropped.append(lease)
    lease.leave_turn()


class Writer:
    """The writer of a session; see `SessionWriter`."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        lease: _Lease,
        session: Callable[[], StoredSession] | None,
        sent: int | None,
    ) -> None:
        self.sent = sent
        self._store = store
        self._mirror = mirror
        self._lease = lease
        self._session = session
        self._released = False
        # A `__del__` could be interrupted, and may run in the middle of a transaction.
        self._drop = weakref.finalize(self, _dropped, lease, store._dropped)
        self._drop.atexit = False

    @property
    def info(self) -> SessionInfo:
        """The session as of the last append."""
        return self._mirror.info

    @property
    def session(self) -> StoredSession | None:
        """The session as it was when the writer came, if that wasn't the version which was seen."""
        if self._session is None:
            return None
        with self._store._reading():
            return self._session()

    def load(self) -> StoredSession:
        """Read the session."""
        return self._store.load(self._mirror.id)

    def append(self, steps: Sequence[Step], *, release: bool = False) -> None:
        """Store steps, all or none of them; see `SessionWriter.append`."""
        lease, mirror = self._lease, self._mirror
        if self._released or not lease.is_mine:
            raise values.session_lost(mirror.id)
        change = Change(mirror, steps)
        lease.fence, version = self._put(change, release=release)
        mirror.take_over(change, version)
        self._session = None
        if release:
            self._store._held.discard(lease)
            self._leave()

    def _put(self, change: Change, *, release: bool) -> tuple[str, int]:
        """Send a change until it is known whether it was stored; return its fence and the new version.

        Each time has a fence of its own. So what was sent before and arrives later finds the old fence gone, or takes
        it from what is sent now: the change can't be stored twice.
        """
        database, fences = self._store._db, list[str]()
        unknown: UnknownOutcome | None = None
        text = "SELECT fence, version FROM {p}sessions WHERE key = ?"
        for _ in range(_SENDS):
            fences.append(secrets.token_hex(16))
            try:
                put, *_ = database.run(change.statements(self._lease.fence, fences[-1], release=release))
                if put:
                    return fences[-1], put[0][0]
            except UnknownOutcome as error:
                unknown = error
            except StoreError as error:
                if unknown is not None:
                    raise unknown from error
                raise
            try:
                (found,) = database.run([(text, (self._mirror.key,))], write=False)
            except StoreError as error:
                if unknown is not None:
                    raise unknown from error
                raise
            there, version = found[0] if found else (None, 0)
            if there in fences:
                return there, version
            if there != self._lease.fence:
                break
        if unknown is not None and there is not None:  # another writer's: ours may have been there before
            raise unknown
        raise values.session_lost(self._mirror.id)

    def release(self) -> None:
        """Let others write."""
        if self._released:
            return
        try:
            self._store._give_back(self._lease)
        except BaseException:  # an interrupt, perhaps before it began
            self._store._dropped.append(self._lease)
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        self._released = True
        self._drop.detach()
        self._lease.leave_turn()


def _one(found: Sequence[Any], id: str) -> Any:
    if not found:
        raise values.no_session(id)
    return found[0]
