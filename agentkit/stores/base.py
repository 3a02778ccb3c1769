"""What a store of chats is: sessions of messages, a ledger of the calls under way, and one writer at a time.

A session is a list of messages numbered from 0 without gaps; they are added and, by `Cut` alone, removed from
the end. Beside them stands the ledger: the calls of the last message, if that is the model's and its calls are
not all answered yet. Each is entered before it runs, and its response as soon as it is there, so that after a
crash it is known which calls ran, which did not, and which may or may not have. And there are results: whole
texts, of which the messages have a part only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from agentkit.limits import Usage
from agentkit.stores.steps import AddMessage as AddMessage
from agentkit.stores.steps import AddUsage as AddUsage
from agentkit.stores.steps import Cut as Cut
from agentkit.stores.steps import DeferCall as DeferCall
from agentkit.stores.steps import FinishCall as FinishCall
from agentkit.stores.steps import SaveResult as SaveResult
from agentkit.stores.steps import SaveSummary as SaveSummary
from agentkit.stores.steps import StartCalls as StartCalls
from agentkit.stores.steps import Step as Step
from agentkit.stores.steps import StoredCall as StoredCall
from agentkit.wire.content import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A content of a session."""

    seq: int
    """Its number, from 0."""
    content: Content
    created: float
    """When it was stored, in seconds since 1970 (UTC)."""
    usage: Usage | None = None
    """What the turn cost, if it is the model's."""
    finish_reason: str | None = None
    """The server's word, if it is the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSummary:
    """A summary of a session's beginning."""

    upto: int
    """It stands for the messages before this number."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A text that was too long for the message which it belongs to."""

    id: str
    seq: int
    """The message's number."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What is known of a session without reading its messages."""

    id: str
    created: float
    """In seconds since 1970 (UTC), as are the others."""
    updated: float
    """When a message was last added or removed, or the session renamed."""
    version: int = 0
    """Counts up with every step that is stored: the same version, the same session."""
    messages: int = 0
    """How many there are."""
    usage: Usage = field(default_factory=Usage)
    """Tokens of all its turns so far, removed ones included."""
    title: str | None = None
    model: str | None = None
    instructions: str | None = None
    expires: float | None = None
    """When it may be deleted, or None: never."""
    parent: str | None = None
    """The session that it was forked from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session, read at one instant."""

    info: SessionInfo
    messages: Sequence[StoredMessage]
    calls: Sequence[StoredCall] = ()
    """The ledger, in order: empty unless the last message is the model's and has open calls."""
    summary: StoredSummary | None = None
    """The newest one that still fits the messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A message that a search found."""

    session_id: str
    seq: int
    role: str
    created: float
    snippet: str
    """The words around what was found."""


class SessionWriter(Protocol):
    """The one writer of a session, until `release`. A process that ends, however it ends, releases its own."""

    info: SessionInfo
    """The session as it was when the writer came: if its version is the one last seen, nothing need be read."""

    def load(self) -> StoredSession:
        """Read the session."""
        ...

    def append(self, steps: Sequence[Step]) -> None:
        """Store steps, all or none of them, durably.

        Raises:
            SessionConflict: The session was taken by another writer, or deleted.
            StoreError: It can't be written; nothing was.
        """
        ...

    def release(self) -> None:
        """Let others write; may be called more than once. Never raises."""
        ...


class SessionStore(Protocol):
    """Keeps sessions. All methods may be called from any thread; any number of processes may share a store."""

    def create(
        self,
        id: str,  # noqa: A002 - what it is
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires: float | None = None,
        parent: str | None = None,
        messages: Sequence[StoredMessage] = (),
        results: Sequence[StoredResult] = (),
    ) -> SessionInfo:
        """Make a session, with messages that it begins with (their numbers and times are kept), and their results.

        Raises:
            SessionExists: There is one of that id.
            StoreError: It can't be written, or the messages or results don't fit each other; nothing was.
        """
        ...

    def load(self, id: str) -> StoredSession:  # noqa: A002
        """Read a session, but none of its results. Raises SessionNotFound."""
        ...

    def info(self, id: str) -> SessionInfo:  # noqa: A002
        """Read what is known of a session without its messages and results. Raises SessionNotFound."""
        ...

    def result(self, id: str, result_id: str) -> str | None:  # noqa: A002
        """Read the text of a result; None if there is none of that id. Raises SessionNotFound."""
        ...

    def results(self, id: str) -> Sequence[StoredResult]:  # noqa: A002
        """Read all results, ordered by their messages. Raises SessionNotFound."""
        ...

    def write(self, id: str, *, wait: float = 0.0) -> SessionWriter:  # noqa: A002
        """Become the writer of a session.

        Args:
            id: The session's.
            wait: Seconds to wait for another writer to be done.

        Raises:
            SessionNotFound: There is no such session.
            SessionConflict: Another writer has it, and still had after `wait`.
        """
        ...

    def list(self, *, limit: int = 50, after: SessionInfo | None = None) -> Sequence[SessionInfo]:
        """List sessions, the last updated first; `after` is the last one of the page before."""
        ...

    def search(self, text: str, *, limit: int = 20) -> Sequence[Hit]:
        """Find messages that have all the words, best first; whatever `text` holds, it is words, not a query."""
        ...

    def rename(self, id: str, title: str | None) -> None:  # noqa: A002
        """Give a session a title. Raises SessionNotFound."""
        ...

    def expire(self, id: str, at: float | None) -> None:  # noqa: A002
        """Say when a session may be deleted; None is never. Raises SessionNotFound."""
        ...

    def delete(self, id: str) -> None:  # noqa: A002
        """Delete a session and all that belongs to it. Raises SessionNotFound."""
        ...

    def delete_expired(self, now: float) -> int:
        """Delete the sessions that have expired; return how many."""
        ...

    def close(self) -> None:
        """Let go of files and connections. What was stored stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
