"""Chats kept in a file, or in memory: `SQLiteStore` and `MemoryStore`, on the standard library's sqlite3."""

from __future__ import annotations

import os

from agentkit.stores.sqlite_file import SQLite
from agentkit.stores.store import SessionStore
from agentkit.wire.arguments import checked


class SQLiteStore(SessionStore):
    """Keeps sessions in a file. See `SessionStore` for the methods.

    When `append` returns, the data is on the disk (WAL, `synchronous=FULL`). Neither the end of the process nor a
    power loss can take it away, provided the system's `fsync` keeps its promise. The weaker NORMAL would save the
    fsync, but could lose the fact that a write call had started; a resumed chat would then run it again. An fsync
    takes some milliseconds, a turn of the model seconds.

    Any number of threads and processes on one machine may use the file. A network file system won't do. SQLite keeps
    two more files beside it, `-wal` and `-shm`: copy all three, or use SQLite's `.backup`. If the file is deleted,
    moved or replaced while it is open, the next write raises StoreError.

    A writer whose process has ended no longer counts. If it ran in another container, whose processes can't be seen
    from here, it is assumed to have ended after ten minutes without a message.

    Search finds the text that people read, not thoughts, calls or responses. Words are compared without regard to
    case, accents and ligatures. In scripts without spaces, a word within a sentence is found. In each message, the
    first megabyte of distinct words is searched.

    Args:
        path: The file; created if it doesn't exist, but its folder isn't. Or `":memory:"`; see `MemoryStore`.
        busy_timeout: Seconds to wait while another process is storing a step.

    Raises:
        StoreError: It can't be opened, is damaged, or isn't a file of agentkit.
        StoreVersionError: A newer agentkit wrote it.
    """

    _db: SQLite

    @checked
    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 10.0) -> None:
        super().__init__(SQLite(path, busy_timeout))


class MemoryStore(SQLiteStore):
    """Keeps sessions in memory, until the process ends. See `SQLiteStore`."""

    def __init__(self) -> None:
        super().__init__(":memory:")
