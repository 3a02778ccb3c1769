"""What was told of runs, kept for whoever comes later: append, read from a cursor, wait for more."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from agentkit.wire.arguments import checked

Row = dict[str, Any]
"""A JSON object. `seq` is added when it is appended; a row with a `key` replaces the last one of that key."""


class EventLog(Protocol):
    """Rows of streams, numbered upwards. A cursor older than what is kept is told, never skipped."""

    async def append(self, stream: str, rows: Sequence[Row]) -> int:
        """Add rows to a stream; return the number of the last."""
        ...

    async def read(self, stream: str, after: int) -> list[Row] | None:
        """Return the rows after a cursor; None if some of them are no longer kept."""
        ...

    async def last(self, stream: str) -> int:
        """Return the number of the newest row of a stream, or a later one: the cursor of who has seen all of it."""
        ...

    async def drop(self, stream: str) -> None:
        """Forget the rows of a stream: what they tell is stored elsewhere by now."""
        ...

    async def wait(self, streams: Iterable[str]) -> None:
        """Return when a row is added to one of these streams, or a little before or after."""
        ...


class MemoryEventLog:
    """An `EventLog` in this process.

    Args:
        keep: How many rows of a stream are kept; the oldest go first.
    """

    @checked
    def __init__(self, keep: int = 5_000) -> None:
        self._keep = keep
        self._streams: dict[str, _Stream] = {}
        self._lost: OrderedDict[str, int] = OrderedDict()
        self._began = self._floor = self._last = int(time.time() * 1000)  # above what an earlier process gave
        self._watchers: dict[str, set[asyncio.Event]] = {}

    async def append(self, stream: str, rows: Sequence[Row]) -> int:
        """Add rows to a stream; return the number of the last."""
        kept = self._streams.setdefault(stream, _Stream())
        for row in rows:
            self._last += 1
            kept.add({**row, "seq": self._last})
        while len(kept.rows) > self._keep:
            self._lose(stream, kept.shift())
        for event in self._watchers.get(stream, ()):
            event.set()
        return self._last

    async def read(self, stream: str, after: int) -> list[Row] | None:
        """Return the rows after a cursor; None if some of them are no longer kept."""
        unknown = self._began if stream in self._streams else self._floor
        if after < self._lost.get(stream, unknown):
            return None
        kept = self._streams.get(stream)
        return kept.after(after) if kept else []

    async def last(self, stream: str) -> int:
        """Return the number of the newest row of all streams."""
        return self._last

    async def drop(self, stream: str) -> None:
        """Forget the rows of a stream."""
        kept = self._streams.pop(stream, None)
        if kept and kept.rows:
            self._lose(stream, next(reversed(kept.rows)))

    async def wait(self, streams: Iterable[str]) -> None:
        """Return when a row is added to one of these streams."""
        event = asyncio.Event()
        names = list(streams)
        for name in names:
            self._watchers.setdefault(name, set()).add(event)
        try:
            await event.wait()
        finally:
            for name in names:
                self._watchers[name].discard(event)
                if not self._watchers[name]:
                    del self._watchers[name]

    def _lose(self, stream: str, seq: int) -> None:
        self._lost[stream] = seq
        self._lost.move_to_end(stream)
        if len(self._lost) > 10_000:  # of those lost longest ago, only the last number of all is remembered
            self._floor = max(self._floor, self._lost.popitem(last=False)[1])


class _Stream:
    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self._keys: dict[str, int] = {}

    def add(self, row: Row) -> None:
        key = row.pop("key", None)
        if key is not None:
            self.rows.pop(self._keys.get(key, 0), None)
            self._keys[key] = row["seq"]
        self.rows[row["seq"]] = row

    def shift(self) -> int:
        """Take the oldest row out; return its number."""
        seq = next(iter(self.rows))
        del self.rows[seq]
        return seq

    def after(self, seq: int) -> list[Row]:
        found = []
        for row in reversed(self.rows.values()):
            if row["seq"] <= seq:
                break
            found.append(row)
        return found[::-1]


async def read_all(log: EventLog, cursors: Mapping[str, int]) -> dict[str, list[Row] | None]:
    """Read several streams, each from its cursor; those without news are left out."""
    read = {stream: await log.read(stream, cursor) for stream, cursor in cursors.items()}
    return {stream: rows for stream, rows in read.items() if rows is None or rows}
