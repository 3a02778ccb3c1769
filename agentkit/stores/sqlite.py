"""Chats kept in a file: `SQLiteStore`, on the standard library's sqlite3."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
import unicodedata
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from agentkit.errors import StoreError
from agentkit.stores._owner import Owner
from agentkit.stores._sqlite_check import problems
from agentkit.stores._sqlite_file import SQLiteFile
from agentkit.stores._sqlite_rows import (
    INFO,
    Change,
    info_of,
    insert_message,
    put_result,
    raw,
    read_info,
    read_results,
    read_session,
)
from agentkit.stores._values import (
    check_id,
    check_numbers,
    check_results,
    encode_usage,
    first_version,
    no_session,
    session_busy,
    session_exists,
    session_lost,
    snippet,
    sum_usage,
    words,
)
from agentkit.stores.base import (
    Hit,
    SessionInfo,
    Step,
    StoredMessage,
    StoredResult,
    StoredSession,
)

_UNSEEN = 600.0  # seconds without a message after which a writer is gone that can't be seen from here


@dataclass(frozen=True, slots=True)
class _Lease:
    """The right to write a session: the row of `writers` that has this token."""

    session: int
    token: str
    pid: int


class SQLiteStore:
    """Keeps sessions in a file. See `SessionStore` for the methods.

    What is appended is on the disk when `append` returns (WAL, `synchronous=FULL`): neither the end of the
    process nor a power loss takes it away, as far as the system's `fsync` keeps its word. The weaker NORMAL
    would cost no fsync, but could lose that a write call was begun; after that, a resumed chat would run it
    again. An fsync takes some milliseconds, a turn of the model seconds.

    Any number of threads and processes of one machine may use the file; a network file system won't do.
    Beside it SQLite keeps two files, `-wal` and `-shm`: copy all three, or use SQLite's `.backup`.

    Searching finds the text that people read: no thoughts, calls or responses. Words are compared without
    regard to case and accents; a run of Chinese or Japanese characters without spaces counts as one word.

    Args:
        path: The file; made if it isn't there, its folder is not.
        busy_timeout: Seconds to wait while another process is storing a step.

    Raises:
        StoreError: It can't be opened, is damaged or is no file of agentkit.
        StoreVersionError: A newer agentkit wrote it.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 10.0) -> None:
        self._file = SQLiteFile(path, busy_timeout)
        self._held: dict[_Lease, weakref.ref[_Writer]] = {}
        self._dropped: set[_Lease] = set()
        """Those of the leases that are given up, but may still be in the file."""

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._file.path)!r})"

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
        now, usage = time.time(), sum_usage(message.usage for message in messages)
        with self._file.writing() as db:
            if db.execute("SELECT 1 FROM sessions WHERE id = CAST(? AS TEXT)", (raw(id),)).fetchone():
                raise session_exists(id)
            (key,) = db.execute(
                "INSERT INTO sessions (id, created, updated, version, messages, usage, title, model, expires, parent)"
                " VALUES (CAST(? AS TEXT), ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, CAST(? AS TEXT))"
                " RETURNING key",
                (
                    *(raw(id), now, now, first_version(), len(messages), encode_usage(usage)),
                    *(raw(title), raw(model), expires, raw(parent)),
                ),
            ).fetchone()
            if instructions is not None:
                db.execute("INSERT INTO instructions VALUES (?, CAST(? AS TEXT))", (key, raw(instructions)))
            for message in messages:
                insert_message(db, key, message)
            for result in results:
                put_result(db, key, result)
            return read_info(db, id)[0]

    def load(self, id: str) -> StoredSession:  # noqa: A002
        """Read a session. Raises SessionNotFound."""
        with self._file.reading() as db:
            return read_session(db, id)

    def info(self, id: str) -> SessionInfo:  # noqa: A002
        """Read what is known of a session without its messages. Raises SessionNotFound."""
        with self._file.reading() as db:
            return read_info(db, id)[0]

    def result(self, id: str, result_id: str) -> str | None:  # noqa: A002
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT r.text FROM sessions s LEFT JOIN results r ON r.session = s.key AND r.id = CAST(? AS TEXT) "
                "WHERE s.id = CAST(? AS TEXT)",
                (raw(result_id), raw(id)),
            ).fetchone()
        if row is None:
            raise no_session(id)
        text: str | None = row[0]
        return text

    def results(self, id: str) -> Sequence[StoredResult]:  # noqa: A002
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        with self._file.reading() as db:
            return read_results(db, id)

    def write(self, id: str, *, wait: float = 0.0) -> _Writer:  # noqa: A002
        """Become the writer of a session; see `SessionStore.write`.

        A writer whose process has ended is none, however it ended. Of one in another container, whose process
        can't be seen from here, it is assumed after ten minutes without a message.
        """
        until, pause = time.monotonic() + wait, 0.005
        while isinstance(taken := self._take(id), Owner):
            left = until - time.monotonic()
            if left <= 0:
                here = taken == Owner.current()
                raise session_busy(
                    id,
                    "another thread or task of this process"
                    if here
                    else f"another process (pid {taken.pid})",
                )
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.1)
        return taken

    def list(self, *, limit: int = 50, after: SessionInfo | None = None) -> Sequence[SessionInfo]:
        """List sessions, the last updated first; `after` is the last one of the page before."""
        page = "WHERE (s.updated, s.id) < (?, CAST(? AS TEXT))" if after else ""
        with self._file.reading() as db:
            rows = db.execute(
                f"{INFO} {page} ORDER BY s.updated DESC, s.id DESC LIMIT ?",
                (*((after.updated, raw(after.id)) if after else ()), max(0, limit)),
            )
            return [info_of(row) for row in rows]

    def search(self, text: str, *, limit: int = 20) -> Sequence[Hit]:
        """Find messages that have all the words of `text`.

        Best first, by BM25. Where SQLite was built without FTS5 when the file was made, the newest first, and
        all messages are read.
        """
        found = (self._search_index if self._file.indexed else self._search_all)(text, max(0, limit))
        return [
            Hit(session_id=id, seq=seq, role=role, created=created, snippet=snippet)
            for id, seq, role, created, snippet in found  # noqa: A001
        ]

    def rename(self, id: str, title: str | None) -> None:  # noqa: A002
        """Give a session a title. Raises SessionNotFound."""
        self._update(
            id, "title = CAST(? AS TEXT), updated = ?, version = version + 1", raw(title), time.time()
        )

    def expire(self, id: str, at: float | None) -> None:  # noqa: A002
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        self._update(id, "expires = ?, version = version + 1", at)

    def delete(self, id: str) -> None:  # noqa: A002
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        with self._file.writing() as db:
            if not db.execute("DELETE FROM sessions WHERE id = CAST(? AS TEXT)", (raw(id),)).rowcount:
                raise no_session(id)

    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        with self._file.writing() as db:
            return db.execute("DELETE FROM sessions WHERE expires <= ?", (now,)).rowcount

    def check(self) -> Sequence[str]:
        """Look whether the file is sound; return what is wrong with it, one line each.

        It reads everything, and others can't write meanwhile.
        """
        try:
            with self._file.writing() as db:
                return problems(db, indexed=self._file.indexed)
        except StoreError as error:
            return [str(error)]

    def close(self) -> None:
        """Release this store's writers and close the file. What was stored stays."""
        try:
            self._release(*self._held)
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _update(self, id: str, change: str, *values: Any) -> None:  # noqa: A002
        with self._file.writing() as db:
            update = f"UPDATE sessions SET {change} WHERE id = CAST(? AS TEXT)"  # noqa: S608
            if not db.execute(update, (*values, raw(id))).rowcount:
                raise no_session(id)

    # -- searching

    def _search_index(self, text: str, limit: int) -> Sequence[tuple[Any, ...]]:
        if not (query := _fts5_query(text)):
            return []
        with self._file.reading() as db:
            return db.execute(
                "SELECT s.id, m.seq, m.role, m.created, snippet(words, 0, '', '', '…', 16) FROM words "
                "JOIN messages m ON m.id = words.rowid JOIN sessions s ON s.key = m.session "
                "WHERE words MATCH ? ORDER BY rank LIMIT ?",
                (query, limit),
            ).fetchall()

    def _search_all(self, text: str, limit: int) -> Sequence[tuple[Any, ...]]:
        if not (wanted := words(text)):
            return []
        with self._file.reading() as db:
            db.create_function("has_words", 1, lambda text: wanted <= words(text))
            rows = db.execute(
                "SELECT s.id, m.seq, m.role, m.created, m.text FROM messages m JOIN sessions s ON s.key = m.session "
                "WHERE has_words(m.text) ORDER BY m.created DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [(*row, snippet(found, wanted)) for *row, found in rows]

    # -- writing

    def _take(self, id: str) -> _Writer | Owner:  # noqa: A002
        """Become the writer, or return who is."""
        me, lease = Owner.current(), None
        dropped = [
            lease
            for lease, writer in list(self._held.items())
            if lease.pid == me.pid and (lease in self._dropped or writer() is None)
        ]
        try:
            # A power loss that takes the lease away has ended its process too; each step after it is durable.
            with self._file.writing(durable=False) as db:
                info, key = read_info(db, id)
                _delete_leases(db, dropped)
                row = db.execute(
                    "SELECT taken, host, pid, started FROM writers WHERE session = ?", (key,)
                ).fetchone()
                if row and _is_held(Owner(*row[1:]), since=max(row[0], info.updated)):
                    return Owner(*row[1:])
                lease = _Lease(key, secrets.token_hex(16), me.pid)
                writer = _Writer(self, lease, info)
                self._held[lease] = weakref.ref(writer)
                db.execute(
                    "INSERT OR REPLACE INTO writers VALUES (?, ?, ?, ?, ?, ?)",
                    (key, lease.token, time.time(), me.host, me.pid, me.started),
                )
            self._forget(dropped)
            return writer
        except BaseException:  # an interrupt may come when the lease is stored already
            if lease is not None:
                self._dropped.add(lease)
            raise

    def _append(self, lease: _Lease, id: str, steps: Sequence[Step]) -> None:  # noqa: A002
        with self._file.writing() as db:
            row = db.execute(
                "SELECT s.messages, s.usage, w.token FROM sessions s JOIN writers w ON w.session = s.key "
                "WHERE s.key = ?",
                (lease.session,),
            ).fetchone()
            if row is None or row[2] != lease.token or lease.pid != os.getpid():
                raise session_lost(id)
            change = Change(db, lease.session, row[0], row[1])
            for step in steps:
                change.apply(step)
            change.finish(len(steps))

    def _release(self, *leases: _Lease) -> None:
        """Release leases; what fails is tried again when the next one is taken. Never raises."""
        mine = [lease for lease in leases if lease.pid == os.getpid()]  # not the parent's, after a fork
        if not mine:
            return
        self._dropped.update(mine)
        try:
            # A power loss that brings the lease back has ended its process too.
            with self._file.writing(durable=False) as db:
                _delete_leases(db, mine)
        except StoreError:
            return
        self._forget(mine)

    def _forget(self, leases: Sequence[_Lease]) -> None:
        self._dropped.difference_update(leases)
        for lease in leases:
            self._held.pop(lease, None)


class _Writer:
    """The writer of a session in a file; see `SessionWriter`.

    That nobody has it any more is seen by the store's weak reference. A `__del__` could be interrupted, and may
    run in the middle of a transaction.
    """

    def __init__(self, store: SQLiteStore, lease: _Lease, info: SessionInfo) -> None:
        self.info = info
        self._store = store
        self._lease = lease
        self._released = False

    def load(self) -> StoredSession:
        """Read the session."""
        return self._store.load(self.info.id)

    def append(self, steps: Sequence[Step]) -> None:
        """Store steps, all or none of them; see `SessionWriter.append`."""
        self._store._append(self._lease, self.info.id, steps)

    def release(self) -> None:
        """Let others write."""
        if not self._released:
            self._store._release(self._lease)
            self._released = True  # not before: an interrupt would leave the lease to nobody


def _fts5_query(text: str) -> str:
    """Ask for all words of a text. Each is a string of FTS5's, which splits and folds it as it did what it found.

    Marks stay, as they are part of the words of many scripts. What has no letter or digit would match nothing.
    """
    letters = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in text)
    return " ".join(f'"{word}"' for word in letters.split() if any(map(str.isalnum, word)))


def _delete_leases(db: sqlite3.Connection, leases: Sequence[_Lease]) -> None:
    db.executemany(
        "DELETE FROM writers WHERE session = ? AND token = ?",
        [(lease.session, lease.token) for lease in leases],
    )


def _is_held(owner: Owner, *, since: float) -> bool:
    """Tell whether a lease still counts, last seen in use at `since`."""
    alive = owner.alive()
    return time.time() - since < _UNSEEN if alive is None else alive
