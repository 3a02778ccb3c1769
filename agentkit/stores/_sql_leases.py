"""Who may write a session of a `SQLStore`: leases that end with the process that has them, and not before."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from agentkit.errors import StoreError
from agentkit.stores._owner import Owner
from agentkit.stores._sql_database import Database
from agentkit.stores.base import SessionInfo

_UNSEEN = 600.0  # seconds without a step after which a process is gone that can't be seen from here


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a session, until it is given back."""

    session_id: str
    key: int = 0
    """The session's number among PostgreSQL's advisory locks."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))


class Leases(Protocol):
    """The leases of one store object.

    The lease is what others see and wait for. What keeps turns whole is the fence: a mark in the session's
    row, new for each writer and each of its appends, which an append must know while it has the row locked.
    So even a writer that lost its lease and hasn't noticed can't add to a turn of the next one.
    """

    dropped: deque[Lease]
    """Leases that nobody will give back; that is done when the next one is taken."""

    def take(self, id: str) -> tuple[Lease, SessionInfo] | str:  # noqa: A002 - what it is
        """Take a session's lease and put its token in the fence, or say who has it. Raises SessionNotFound."""
        ...

    def give_back(self, lease: Lease) -> None:
        """Let others take it. Raises StoreError if it couldn't be said to the database; it is dropped then."""
        ...

    def close(self) -> None:
        """Give all back. Never raises."""
        ...


class AdvisoryLeases:
    """Leases as advisory locks of PostgreSQL, which end with the connection that holds them.

    One connection holds those of all writers of a store, so that they cost no more than that. If it is lost,
    the locks are taken again at the next call here, unless others have them by then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._start_anew()
        database.when_forked.append(self._start_anew)

    def _start_anew(self) -> None:
        self.dropped: deque[Lease] = deque()
        self._lock = threading.Lock()
        self._inside = 0  # the thread that has it
        self._connection: sa.Connection | None = None
        self._held: dict[int, Lease] = {}

    def take(self, id: str) -> tuple[Lease, SessionInfo] | str:  # noqa: A002
        """Take a session's lease; see `Leases.take`."""
        _give_back_dropped(self)
        with self._database.reading() as rows:
            lease = Lease(id, _key(rows.info(id)))
        with self._alone():
            if lease.key in self._held:  # the server gives a lock twice to the same connection
                return "another thread or task of this process"
            try:
                if not self._call(sa.func.pg_try_advisory_lock(lease.key)):
                    return "another process"
                self._held[lease.key] = lease
            except BaseException:  # an interrupt may come when the server has given the lock already
                self._held[lease.key] = lease
                self.dropped.append(lease)
                raise
        try:
            with self._database.writing() as rows:
                return lease, rows.claim(id, fence=lease.token, owner=None)
        except BaseException:
            self.dropped.append(lease)
            with suppress(StoreError):
                _give_back_dropped(self)
            raise

    def give_back(self, lease: Lease) -> None:
        """Let others take it; see `Leases.give_back`. If the connection is lost, so is the lock."""
        try:
            with self._alone():
                if self._held.get(lease.key) == lease:
                    if self._connection is not None:
                        self._call(sa.func.pg_advisory_unlock(lease.key))
                    del self._held[lease.key]
        except BaseException:
            self.dropped.append(lease)
            raise

    def close(self) -> None:
        """Close the connection; that ends the locks."""
        with suppress(StoreError), self._alone():
            self._held = {}
            self._drop_connection()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._inside == threading.get_ident():  # it would wait for itself
            raise StoreError(
                f"{self._database.name} can't be used here: what runs now (a signal's handler, or the end of an "
                "object that nobody closed) came while its own thread was taking a session, or giving one back."
            )
        with self._lock:
            try:
                self._inside = threading.get_ident()
                yield
            finally:
                self._inside = 0

    def _call(self, function: sa.Function[Any]) -> bool:
        """Call one of the server's functions, on a new connection if the old one was lost."""
        with self._database.in_words():
            if self._connection is not None:
                try:
                    return bool(self._connection.scalar(sa.select(function)))
                except sa.exc.DBAPIError:
                    self._drop_connection()
            try:
                return bool(self._connected().scalar(sa.select(function)))
            except BaseException:
                self._drop_connection()
                raise

    def _connected(self) -> sa.Connection:
        self._connection = connection = self._database.connect_alone()
        # The server is to keep it while this process lives, and no longer: not if its machine has vanished.
        connection.exec_driver_sql("SET idle_session_timeout = 0")
        for name, value in (("idle", 10), ("interval", 5), ("count", 3)):
            connection.exec_driver_sql(f"SET tcp_keepalives_{name} = {value}")
        for key in self._held:
            connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key)))
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None


class OwnerLeases:
    """Leases as a note in the session's row that names the process: for SQLite, whose file is on one machine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._start_anew()
        database.when_forked.append(self._start_anew)

    def _start_anew(self) -> None:
        self.dropped: deque[Lease] = deque()
        self._held: dict[Lease, str] = {}

    def take(self, id: str) -> tuple[Lease, SessionInfo] | str:  # noqa: A002
        """Take a session's lease; see `Leases.take`."""
        _give_back_dropped(self)
        lease, me = Lease(id), Owner.current()
        note = json.dumps({"token": lease.token, "taken": time.time(), "owner": asdict(me)})
        try:
            with self._database.writing() as rows:
                noted, info = rows.owner(id), rows.info(id)
                if noted is not None and (holder := _holder(noted, info.updated)):
                    return (
                        "another thread or task of this process" if holder == me else f"process {holder.pid}"
                    )
                self._held[lease] = note
                info = rows.claim(id, fence=lease.token, owner=note)
            return lease, info
        except BaseException:  # an interrupt may come when the lease is stored already
            self.dropped.append(lease)
            raise

    def give_back(self, lease: Lease) -> None:
        """Let others take it; see `Leases.give_back`."""
        if (note := self._held.get(lease)) is None:
            return
        try:
            with self._database.writing() as rows:
                rows.disclaim(lease.session_id, owner=note)
            self._held.pop(lease, None)
        except BaseException:
            self.dropped.append(lease)
            raise

    def close(self) -> None:
        """Give all back."""
        for lease in list(self._held):
            with suppress(StoreError):
                self.give_back(lease)


def _give_back_dropped(leases: AdvisoryLeases | OwnerLeases) -> None:
    for _ in range(len(leases.dropped)):
        with suppress(IndexError):  # another thread did
            leases.give_back(leases.dropped.popleft())


def _holder(note: str, updated: float) -> Owner | None:
    """Say which process has a lease, if it still runs."""
    noted = json.loads(note)
    owner = Owner(**noted["owner"])
    alive = owner.alive()
    if alive is None:
        alive = time.time() - max(noted["taken"], updated) < _UNSEEN
    return owner if alive else None


def _key(info: SessionInfo) -> int:
    """Make the number of a session's lock: one that had its id before and was deleted has another.

    Two sessions with the same number are possible, and harmless: they wait for each other.
    """
    text = f"agentkit {info.created!r} {info.id}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:8], signed=True)
