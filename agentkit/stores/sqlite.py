"""Chats kept in a file, or in memory: `SQLiteStore` and `MemoryStore`, on the standard library's sqlite3."""

from __future__ import annotations

import os

from agentkit.stores.sqlite_file import SQLite
from agentkit.stores.store import Store
from agentkit.wire.arguments import checked


class SQLiteStore(Store):
    """Keeps sessions in a file. See `SessionStore` for the methods.

    What is appended is on the disk when `append` returns (WAL, `synchronous=FULL`): neither the end of the
    process nor a power loss takes it away, as far as the system's `fsync` keeps its word. The weaker NORMAL
    would cost no fsync, but could lose that a write call was begun; after that, a resumed chat would run it
    again. An fsync takes some milliseconds, a turn of the model seconds.

    Any number of threads and processes of one machine may use the file; a network file system won't do.
    Beside it SQLite keeps two files, `-wal` and `-shm`: copy all three, or use SQLite's `.backup`. If the file is
    deleted, moved or replaced while it is open, the next write is a StoreError.

    A writer whose process has ended is none. Of one in another container, whose process can't be seen from here,
    that is assumed after ten minutes without a message.

    Searching finds the text that people read: no thoughts, calls or responses. Words are compared without regard to
    case, accents and ligatures; in scripts without spaces, a word inside a sentence is found. Of a message, the first
    megabyte of different words is searched.

    Args:
        path: The file; made if it isn't there, its folder is not. Or `":memory:"`; see `MemoryStore`.
        busy_timeout: Seconds to wait while another process is storing a step.

    Raises:
        StoreError: It can't be opened, is damaged or is no file of agentkit.
        StoreVersionError: A newer agentkit wrote it.
    """

    _db: SQLite

    @checked
    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 10.0) -> None:
        super().__init__(SQLite(path, busy_timeout))


class MemoryStore(SQLiteStore):
    """Keeps sessions in this process's memory; they end with it. See `SQLiteStore`."""

    def __init__(self) -> None:
        super().__init__(":memory:")
