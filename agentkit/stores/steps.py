"""The steps in which a session changes: what a writer adds, each list of them in one transaction.

They are all that a run needs of the stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentkit.limits import Usage
from agentkit.stores.message import Message
from agentkit.wire.content import JsonObject, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """An entry of the ledger: a function call of the session's last message."""

    index: int
    """Which of the message's calls, from 0."""
    call_id: str
    """The idempotency key that the tool was or will be given; stays the same when the run is resumed."""
    name: str
    effect: Literal["read", "write"] | None
    """What the tool is marked as; None if nobody marked it: then nobody knows what it does, as with `write`."""
    args: JsonObject | None = None
    """What a person or a hook put in the place of the call's arguments."""
    started: bool = False
    """Whether the call was about to run. Without a response, nobody knows whether it did."""
    response: Part | None = None
    """The functionResponse part, once there is one."""
    deferred: JsonObject | None = None
    """What the call waits for, if its result comes later from elsewhere: JSON that the run makes and reads. It
    stays when the call is started again or has its response."""
    why: str | None = None
    """Why the call waits for a person's decision, in words, once it does."""
    declared: str | None = None
    """The fingerprint of the tool as it was declared then: a decision is about that, and no other. Without a `why`,
    somebody has said that the call may run, and it waits for another in front of it."""


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Add a message to the end. With calls in it, their entries of the ledger; adding the next clears these.

    A message that has no time gets the present one. A session takes each sender's id once.
    """

    message: Message
    calls: Sequence[StoredCall] = ()


@dataclass(frozen=True, slots=True)
class StartCalls:
    """Note that calls of the last message are about to run; or, not `started`, that they didn't and may again."""

    indexes: Sequence[int]
    started: bool = True


@dataclass(frozen=True, slots=True)
class HoldCall:
    """Note that a call of the last message waits: for a person's decision or, without a `why`, no longer for that."""

    index: int
    why: str | None
    declared: str | None = None
    """The fingerprint of its tool, if there is one."""


@dataclass(frozen=True, slots=True)
class EditCall:
    """Put other arguments in the place of those that the model gave a call of the last message."""

    index: int
    args: JsonObject


@dataclass(frozen=True, slots=True)
class FinishCall:
    """Note the response to a call of the last message."""

    index: int
    response: Part


@dataclass(frozen=True, slots=True)
class DeferCall:
    """Note that a call of the last message waits for a result from elsewhere; it counts as not started again."""

    index: int
    state: JsonObject
    """Kept as the call's `deferred`."""


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Keep a text that belongs to the message which comes next; one of the same id is replaced."""

    id: str
    """1 to 200 characters."""
    text: str
    """Any text of up to 100 million characters."""


@dataclass(frozen=True, slots=True)
class SaveState:
    """Keep the chat's state, the user's own JSON, as it is now that there are so many messages."""

    state: JsonObject


@dataclass(frozen=True, slots=True)
class SaveFiles:
    """Note where the files are now to which a message refers: some were uploaded again."""

    seq: int
    files: Sequence[JsonObject]


@dataclass(frozen=True, slots=True)
class SaveGiven:
    """Note what a message is given from now on: whoever resumed its run gave it something else."""

    seq: int
    given: JsonObject | None


@dataclass(frozen=True, slots=True)
class Cut:
    """Remove the messages from this number on with their results, and the ledger; the state goes back to what it was.

    A sender's id that was among them may be sent again.
    """

    seq: int


@dataclass(frozen=True, slots=True)
class AddUsage:
    """Count tokens that belong to no message: of replies that were not taken, of tools."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class SaveSummary:
    """Keep a summary of the messages before `upto`."""

    upto: int
    text: str


Step = (
    AddMessage
    | StartCalls
    | HoldCall
    | EditCall
    | FinishCall
    | DeferCall
    | SaveResult
    | SaveState
    | SaveFiles
    | SaveGiven
    | Cut
    | AddUsage
    | SaveSummary
)
