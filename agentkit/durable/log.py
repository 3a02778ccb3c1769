"""What was told of runs, in tables: whoever comes later, in any process, reads on from a cursor."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from agentkit.drivers.threads import off_loop
from agentkit.durable.signals import Signals, is_postgres, key_of, told_in_loop
from agentkit.errors import StoreError
from agentkit.stores.dialect import Dialect, UnknownOutcome
from agentkit.stores.rows import Statement

Row = dict[str, Any]
"""A JSON object. `seq` is added when it is read; a row with a `key` replaces the last one of that key."""

_BEAT = 0.05
"""Seconds between the transactions of a process, each with all that was told meanwhile."""
_PATIENCE = 300.0
"""Seconds for which it tries to store what it has."""
_MERGED = ("text_delta", "thought_delta")


class Fenced(StoreError):
    """A stream has ended, or another writer has it: nothing was added."""


def _merged(last: Row, row: Row) -> Row | None:
    """Make one of two pieces of one text, a sub-agent's too; None if they are none."""
    if last["type"] == row["type"] in _MERGED:
        return {**last, "text": last["text"] + row["text"]}
    if last["type"] == row["type"] == "agent_event" and last["callIds"] == row["callIds"]:
        inner = _merged(last["event"], row["event"])
        return inner and {**last, "event": inner}
    return None


@dataclass
class _Batch:
    rows: list[Row] = field(default_factory=list)
    done: Future[int] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.done.set_running_or_notify_cancel()  # several may wait for it: one that is cancelled ends it for none


class DurableEventLog:
    """An event log in the database of a store, for all processes; see `agentkit.serve.EventLog`.

    What a process tells within 50 ms goes into one transaction, for all streams together, and a row for each. It may
    be lost with the machine of the database server, where a chat's steps are not.

    Args:
        database: Of a store.
        signals: Wakes who waits.
        keep: How many rows of a stream are kept; the oldest go first.
    """

    def __init__(self, database: Dialect, signals: Signals, *, keep: int = 5_000) -> None:
        self._db = database
        self._signals = signals
        self._keep = keep
        self._postgres = is_postgres(database)
        self._lock = threading.Condition()
        self._due: dict[tuple[str, str], _Batch] = {}
        self._seqs: dict[tuple[str, str], int] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    # -- writing

    def take(self, stream: str, fence: str, seq: int) -> None:
        """Note that a stream has this process as its one writer, and the number of its last row."""
        with self._lock:
            self._seqs[stream, fence] = seq

    def leave(self, stream: str, fence: str) -> None:
        """Note that this writer adds nothing more."""
        with self._lock:
            self._seqs.pop((stream, fence), None)

    def tell(self, stream: str, rows: Sequence[Row], *, fence: str = "") -> Future[int]:
        """Add rows to a stream within 50 ms; the future has the number of the last, or `Fenced`.

        Args:
            stream: Its name.
            rows: JSON objects.
            fence: What its one writer knows it by, if it has one: see `take`.
        """
        with self._lock:
            if self._closed:
                raise StoreError("The event log is closed.")
            batch = self._due.setdefault((stream, fence), _Batch())
            for row in rows:
                if batch.rows and (merged := _merged(batch.rows[-1], row)):
                    batch.rows[-1] = merged
                else:
                    batch.rows.append(row)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="agentkit-events", daemon=True)
                self._thread.start()
            self._lock.notify_all()
        return batch.done

    async def append(self, stream: str, rows: Sequence[Row]) -> int:
        """Add rows to a stream; return the number of the last."""
        return await asyncio.wrap_future(self.tell(stream, rows)) if rows else await self.last(stream)

    def close(self) -> None:
        """Store what is due, and write no more."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(10)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._due and not self._lock.wait_for(lambda: self._due or self._closed, timeout=1.0):
                    self._thread = None
                    return
                if not self._due:
                    return
                due, self._due = self._due, {}
            self._store(dict(sorted(due.items())))  # in one order for all, so that none waits for the other
            with self._lock:
                self._lock.wait_for(lambda: self._closed, timeout=_BEAT)

    def _store(self, due: dict[tuple[str, str], _Batch]) -> None:
        until, unknown = time.monotonic() + _PATIENCE, False
        while due:
            try:
                if unknown:
                    self._leave_out_stored(due)
                    unknown = False
                found = self._db.run(self._statements(due), durable=False)
                break
            except UnknownOutcome:
                unknown = True
            except Exception as error:
                if time.monotonic() > until or self._closed or not isinstance(error, StoreError):
                    for batch in due.values():
                        batch.done.set_exception(error)
                    return
                time.sleep(0.2)
        else:
            return
        own = found[1:] if self._postgres else found
        for number, (key, batch) in enumerate(due.items()):
            self._settle(key, batch, own[2 * number])
        self._signals.tell(key_of(stream) for stream, _ in due)

    def _settle(self, key: tuple[str, str], batch: _Batch, taken: list[Any]) -> None:
        if not taken:
            batch.done.set_exception(Fenced(f"The stream {key[0]!r} has ended, or another writer has it."))
            return
        with self._lock:
            if key in self._seqs:
                self._seqs[key] = taken[0][0]
        batch.done.set_result(taken[0][0])

    def _leave_out_stored(self, due: dict[tuple[str, str], _Batch]) -> None:
        """Find out, after a connection was lost, which batches of single writers are stored; the others go again."""
        for key, batch in list(due.items()):
            before = self._seqs.get(key)
            text = "SELECT seq FROM {p}event_streams WHERE stream = ? AND fence = ?"
            (found,) = self._db.run([(text, key)], write=False)
            if found and before is not None and found[0][0] >= before + len(batch.rows):
                self._settle(key, due.pop(key), found)

    def _statements(self, due: dict[tuple[str, str], _Batch]) -> list[Statement]:
        made: list[Statement] = []
        if self._postgres:
            made.append(("SET LOCAL synchronous_commit = off", ()))
        now = time.time()
        for (stream, fence), batch in due.items():
            first, count = int(now * 1000), len(batch.rows)
            upsert = (
                "INSERT INTO {p}event_streams (stream, seq, lost, fence, ended, updated) VALUES (?, ?, ?, ?, 0, ?) "
                "ON CONFLICT (stream) DO UPDATE SET seq = {p}event_streams.seq + ?, updated = excluded.updated "
                "WHERE {p}event_streams.ended = 0 AND {p}event_streams.fence = excluded.fence RETURNING seq"
            )
            made.append((upsert, (stream, first + count, first, fence, now, count)))
            insert = (
                "INSERT INTO {p}event_rows (stream, seq, count, rows) SELECT stream, seq, ?, ? "
                "FROM {p}event_streams WHERE stream = ? AND fence = ? AND ended = 0"
            )
            text = json.dumps(batch.rows, separators=(",", ":"))
            made.append((insert, (count, text, stream, fence)))
        if self._postgres:
            keys = " ".join(key_of(stream) for stream, _ in due)
            made += [
                ("SELECT pg_notify('agentkit_queue', ?)", (keys[n : n + 6_800],))
                for n in range(0, len(keys), 6_800)
            ]
        return made

    # -- reading

    async def read(self, stream: str, after: int) -> list[Row] | None:
        """Return the rows after a cursor; None if some of them are no longer kept."""
        return await off_loop(lambda: self.look(stream, after))

    def look(self, stream: str, after: int | None) -> list[Row] | None:
        """Do the same, and block meanwhile; None is a cursor before all that is kept."""
        of, rows = self._db.run(
            [
                ("SELECT lost FROM {p}event_streams WHERE stream = ?", (stream,)),
                (
                    "SELECT seq, count, rows FROM {p}event_rows WHERE stream = ? AND seq > ? ORDER BY seq",
                    (stream, -1 if after is None else after),
                ),
            ],
            write=False,
        )
        if of and after is not None and after < of[0][0]:
            return None
        found = [
            {**row, "seq": number}
            for seq, count, text in rows
            for number, row in enumerate(json.loads(text), seq - count + 1)
            if after is None or number > after
        ]
        newest = {row["key"]: row["seq"] for row in found if "key" in row}
        return [row for row in found if row["seq"] == newest.get(row.pop("key", None), row["seq"])]

    async def last(self, stream: str) -> int:
        """Return the number of the newest row of a stream: the cursor of who has seen all of it."""
        text = "SELECT seq FROM {p}event_streams WHERE stream = ?"
        (found,) = await off_loop(lambda: self._db.run([(text, (stream,))], write=False))
        return found[0][0] if found else int(time.time() * 1000)

    async def drop(self, stream: str) -> None:
        """Forget the rows of a stream: what they tell is stored elsewhere by now."""
        await off_loop(lambda: self._forget(stream, 0))

    async def wait(self, streams: Iterable[str]) -> None:
        """Return when a row is added to one of these streams, or a little before or after."""
        with told_in_loop(self._signals, map(key_of, streams)) as told:
            await told.wait()

    # -- housekeeping

    def trim(self) -> None:
        """Forget the oldest rows of streams that have too many."""
        text = "SELECT stream FROM {p}event_streams WHERE seq - lost > ? LIMIT 1000"
        (found,) = self._db.run([(text, (self._keep,))], write=False)
        for (stream,) in found:
            self._forget(stream, self._keep)

    def forget_before(self, time: float) -> None:
        """Forget the streams of no task to which nothing was added since a time."""
        text = "DELETE FROM {p}event_streams WHERE updated < ? AND stream NOT LIKE 'task:%'"
        self._db.run([(text, (time,))], durable=False, again=True)

    def _forget(self, stream: str, keep: int) -> None:
        update = "UPDATE {p}event_streams SET lost = seq - ? WHERE stream = ? AND seq - lost > ?"
        rows = """DELETE FROM {p}event_rows WHERE stream = ?
            AND seq <= (SELECT lost FROM {p}event_streams WHERE stream = ?)"""
        self._db.run([(update, (keep, stream, keep)), (rows, (stream, stream))], durable=False, again=True)
