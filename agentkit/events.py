"""What a run tells while it happens: one frozen dataclass for each kind of news."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.limits import Usage
from agentkit.wire.content import FunctionResponse, JsonObject

if TYPE_CHECKING:
    from agentkit.run import Run


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """A piece of the model's summary of its thoughts."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call begins. It is told of calls that can't run as well (unknown tool, bad arguments)."""

    call_id: str
    name: str
    args: JsonObject


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """A tool says how far it is (`ctx.progress(...)`)."""

    call_id: str
    name: str
    message: Any


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its response."""

    call_id: str
    name: str
    response: FunctionResponse
    """What the model gets."""
    seconds: float
    """How long the call took."""
    error: Exception | None = None
    """What went wrong, or None."""


@dataclass(frozen=True, slots=True)
class ModelRetry:
    """The model didn't answer properly and is asked again."""

    attempt: int
    """Of the request about to be made: the first retry is 2."""
    delay: float
    """Seconds until then."""
    reason: str
    """Why, e.g. the error or the finish reason."""
    discarded: str = ""
    """Text of this turn that was told as `TextDelta` and no longer counts: the reply comes anew."""


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The model has answered; its calls, if any, come next."""

    turn: int
    """From 1."""
    usage: Usage
    """Of this turn."""
    finish_reason: str
    """The server's word, e.g. `STOP`."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of every run."""

    run: Run


Event = (
    TextDelta
    | ThoughtDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ModelRetry
    | TurnFinished
    | RunFinished
)
