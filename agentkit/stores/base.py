"""What a store of chats is: sessions of messages, a ledger of the calls under way, and one writer at a time.

A session is a list of messages; they are added and, by `Cut` alone, removed from the end. Where a message is named,
it is by its index in that list. Beside them stands the ledger: the calls of the last message, if that is the model's
and its calls are not all answered yet. Each is entered before it runs, and its response as soon as it is there, so
that after a crash it is known which calls ran, which did not, and which may or may not have. And there are results:
whole texts, of which the messages have a part only; and a state, which is the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from agentkit.errors import StoreError
from agentkit.limits import Usage
from agentkit.stores.message import Message as Message
from agentkit.stores.steps import AddMessage as AddMessage
from agentkit.stores.steps import AddUsage as AddUsage
from agentkit.stores.steps import Cut as Cut
from agentkit.stores.steps import DeferCall as DeferCall
from agentkit.stores.steps import EditCall as EditCall
from agentkit.stores.steps import FinishCall as FinishCall
from agentkit.stores.steps import HoldCall as HoldCall
from agentkit.stores.steps import SaveFiles as SaveFiles
from agentkit.stores.steps import SaveGiven as SaveGiven
from agentkit.stores.steps import SaveResult as SaveResult
from agentkit.stores.steps import SaveState as SaveState
from agentkit.stores.steps import SaveSummary as SaveSummary
from agentkit.stores.steps import StartCalls as StartCalls
from agentkit.stores.steps import Step as Step
from agentkit.stores.steps import StoredCall as StoredCall
from agentkit.wire.content import JsonObject

T = TypeVar("T")


class DamagedMessage(StoreError):
    """A message can't be read; those before it can.

    Attributes:
        seq: Its index in the session.
        end: The index of the next one that may be sound: several may be missing.
    """

    def __init__(self, message: str, *, seq: int, end: int | None = None) -> None:
        super().__init__(message)
        self.seq = seq
        self.end = seq + 1 if end is None else end


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSummary:
    """A summary of a session's beginning."""

    upto: int
    """It stands for the messages before this one."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A text that was too long for the message which it belongs to."""

    id: str
    seq: int
    """The message's index."""
    text: str


class SessionSettings(TypedDict, total=False):
    """What a session is made with, beside its messages."""

    model: str | None
    instructions: str | None
    title: str | None
    expires: float | None
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What is known of a session without reading its messages."""

    id: str
    created: float
    """In seconds since 1970 (UTC), as are the others."""
    updated: float
    """When a message was last added or removed; a new title doesn't count as use."""
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
    messages: Sequence[Message]
    ledger: Sequence[StoredCall] | StoreError = ()
    """See `calls`."""
    summary: StoredSummary | None = None
    """The newest one that still fits the messages."""
    own: JsonObject | StoreError = field(default_factory=dict)
    """See `state`."""

    @property
    def calls(self) -> Sequence[StoredCall]:
        """The ledger, in order: empty unless the last message is the model's and has open calls.

        Raises:
            StoreError: It is damaged; the messages are not.
        """
        return _sound(self.ledger)

    @property
    def state(self) -> JsonObject:
        """The user's own JSON. Raises StoreError if it is damaged; the messages are not."""
        return _sound(self.own)


def _sound(value: T | StoreError) -> T:
    if isinstance(value, StoreError):
        raise StoreError(str(value)) from value
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A message that a search found."""

    session_id: str
    seq: int
    """The message's index in its session."""
    role: str
    created: float | None
    snippet: str
    """The words around what was found."""
