"""The writer of a session, and the lease that it holds."""

from __future__ import annotations

import os
import secrets
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentkit.errors import StoreError
from agentkit.stores import _values as values
from agentkit.stores.base import SessionInfo, Step, StoredSession
from agentkit.stores.changes import StoredChange
from agentkit.stores.dialect import UnknownOutcome
from agentkit.stores.turns import TURNS, Turn

if TYPE_CHECKING:
    from agentkit.stores.store import SessionStore

_SENDS = 5
"""How often an append is sent at most, where a connection is lost each time."""
_FENCE = "SELECT fence FROM {p}sessions WHERE key = ?"


class Lease:
    """The right to write a session, until it is given back.

    The lease is what others see and wait for. What keeps turns whole is the fence: a mark in the session's
    row, new for each writer and each of its appends, which an append must know while it has the row locked.
    So even a writer that lost its lease and hasn't noticed can't add to a turn of the next one.
    """

    def __init__(self, id: str, turn: Turn, *, own_turn: bool) -> None:
        self.id = id
        self.fence = self.token = secrets.token_hex(16)
        """Each of its fences begins with the token, whether its storing was heard of or not."""
        self._fences = 0
        self._turn = turn
        self._own_turn = own_turn
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether it is this process's, and not that of one which this was forked from."""
        return self._pid == os.getpid()

    def new_fence(self) -> str:
        """Make a fence that nobody has had."""
        self._fences += 1
        return f"{self.token}-{self._fences}"

    def leave_turn(self) -> None:
        """Let others of this process have their turn, if it was taken for this lease."""
        if self._own_turn and self.is_mine:
            TURNS.leave(self._turn)


def _dropped(lease: Lease, dropped: deque[Lease]) -> None:
    """Note, wherever a writer that nobody released is collected, that its lease is to be given back."""
    dropped.append(lease)
    lease.leave_turn()


class Writer:
    """The one writer of a session, until `release`. A process that ends, however it ends, releases its own."""

    def __init__(
        self,
        store: SessionStore,
        lease: Lease,
        key: int,
        info: SessionInfo,
        calls: Mapping[int, bool],
        session: Callable[[], StoredSession] | None,
        sent: int | None,
    ) -> None:
        self.info = info
        """The session as this writer knows it: when it came, and after each of its appends.

        Where the session was renamed, or its end was set, meanwhile, the version is an earlier one than it has now.
        """
        self.sent = sent
        """The index of the message with the sender's id that the writer came with, if the session has it."""
        self._store = store
        self._lease = lease
        self._key = key
        self._calls = calls
        self._session = session
        self._released = False
        # A `__del__` could be interrupted, and may run in the middle of a transaction.
        self._drop = weakref.finalize(self, _dropped, lease, store._dropped)
        self._drop.atexit = False

    @property
    def session(self) -> StoredSession | None:
        """The session as it was when the writer came, if that isn't the version which it was told as `seen`."""
        return None if self._session is None else self._session()

    def append(self, steps: Sequence[Step], *, release: bool = False) -> None:
        """Store steps, all or none of them, durably; with `release`, let others write in the same transaction.

        Raises:
            SessionConflict: The session was taken by another writer, or deleted.
            StoreError: It can't be written; nothing was.
        """
        lease = self._lease
        if self._released or not lease.is_mine:
            raise values.session_lost(lease.id)
        change = StoredChange(self._key, self.info, self._calls, steps)
        lease.fence = self._put(change, release=release)
        self.info, self._calls, self._session = change.info, change.calls, None
        if release:
            self._store._held.discard(lease)
            self._leave()

    def _put(self, change: StoredChange, *, release: bool) -> str:
        """Send a change until it is known whether it was stored; return its fence.

        Each time has a fence of its own. So what was sent before and arrives later finds the old fence gone, or takes
        it from what is sent now: the change can't be stored twice.
        """
        database, lease, fences = self._store._db, self._lease, list[str]()
        unknown: UnknownOutcome | None = None
        for _ in range(_SENDS):
            fences.append(lease.new_fence())
            put: list[Any] | None = None
            try:
                try:
                    put, *_ = database.run(change.statements(lease.fence, fences[-1], release=release))
                    if put:
                        return fences[-1]
                except UnknownOutcome as error:
                    unknown = error
                (found,) = database.run([(_FENCE, (self._key,))], write=False)
            except StoreError as error:
                if unknown is None:
                    raise
                raise unknown from error
            there: str | None = found[0][0] if found else None
            if there in fences:
                return there
            if there != lease.fence:
                break
            if put is not None:  # refused, though the fence is ours
                raise values.uncounted(lease.id, self.info.messages)
        if unknown is not None and there is not None:  # another writer's: ours may have been there before
            raise unknown
        raise values.session_lost(lease.id)

    def release(self) -> None:
        """Let others write; may be called more than once. Never raises."""
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
