"""What a run tells while it happens: one frozen dataclass for each kind of news."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentkit.limits import Usage
from agentkit.wire.content import Content, FunctionResponse, JsonObject

if TYPE_CHECKING:
    from agentkit.run import Run


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputDelta:
    """What there is so far of a structured output (`run(output=...)`), where the model streams its JSON."""

    value: Any
    """Plain JSON values, not validated yet; the last text may be half there. It only grows."""


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
    error: Exception | None = field(default=None, repr=False)
    """What went wrong, or None; not in the repr, since a tool's exception may hold what is nobody else's business."""


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
class RequestDelayed:
    """A request waits for its place under the agent's rate limit."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A model failed and the next one stands in for it, until the run ends."""

    before: str
    after: str
    reason: str
    """What the error of the first one says."""


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """A message of the user's, sent while the run goes on, is in the history from here on."""

    content: Content


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """Something that happens in a sub-agent (`Agent.as_tool`)."""

    path: tuple[str, ...]
    """The agents' names, from the outermost sub-agent to the one it happens in."""
    call_id: str
    """The call of this run that the outermost one answers."""
    event: Event
    """What happens there."""


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The model has answered; its calls, if any, come next."""

    turn: int
    """From 1."""
    usage: Usage
    """Of this turn."""
    finish_reason: str
    """The server's word, e.g. `STOP`."""
    model: str = ""
    """Which model answered."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of every run."""

    run: Run


Event = (
    TextDelta
    | OutputDelta
    | ThoughtDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ModelRetry
    | RequestDelayed
    | ModelChanged
    | MessageAdded
    | AgentEvent
    | TurnFinished
    | RunFinished
)
