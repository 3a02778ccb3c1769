"""What a task is, what is told of one while it runs, and how decisions about calls are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.errors import ConfigurationError
from agentkit.events import Event
from agentkit.tooling.decisions import Approve, Decision, Deny, Edit, PendingCall, Result

Status = Literal["queued", "running", "done", "failed", "cancelled"]
STATUSES: Mapping[str, Status] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
"""By the engine's own words."""
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A message, or a decision, on its way through a queue."""

    id: str
    chat: str
    agent: str
    status: Status
    """A task that is `done` may have stopped without an answer: see `stop`."""
    text: str = ""
    """The answer, once it is done."""
    stop: str | None = None
    """Why its run ended without an answer, as `Run.stop`: `approval` says that somebody has to decide."""
    why: str = ""
    """That in words; or why the task failed."""
    pending: tuple[PendingCall, ...] = ()
    """The calls that somebody has to say something about."""
    message: Sequence[Any] | None = None
    """The parts of what was said, in the wire's JSON; None for a decision."""
    message_id: str | None = None
    """The sender's id of its message, which the chat takes once, however many tasks bring it."""
    attempts: int = 0
    """How often a worker has taken it."""
    deaths: int = 0
    """How many workers ended while they ran it."""
    created: float = 0.0
    """In seconds since 1970 (UTC), as are the others."""
    started: float | None = None
    """When a worker last took it."""
    ended: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A worker has taken the task."""

    attempt: int
    """From 1. In a later one, text and calls that were told since the last `TurnFinished` are told anew."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Events before the next one are no longer kept; what the chat has is whole."""


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """The last event of every task."""

    task: Task


TaskEvent = Event | TaskStarted | EventsLost | TaskEnded
"""What `watch` tells."""


def check_id(what: str, id: object) -> str:
    """Return an id. Raises ConfigurationError unless both databases and every log can hold it as it is."""
    if isinstance(id, str) and 1 <= len(id) <= _LONGEST and id.strip() and id.isprintable():
        return id
    raise ConfigurationError(f"{what} is 1 to {_LONGEST} printable characters, not {id!r:.80}.")


def read_task(row: Any) -> Task:
    """Make a task of a row of `TASKS`."""
    id, chat, deaths, status, _priority, attempts, created, started, ended, given, output, error = row
    task, out = json.loads(given)["args"][0], json.loads(output) if output else {}
    why = out.get("why", "")
    if status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        why = f"{deaths} workers ended while they ran it: it was given up. It can be sent again."
    elif error:
        why = str(json.loads(error))
    return Task(
        id=id,
        chat=chat,
        agent=task["agent"],
        status=STATUSES[status],
        text=out.get("text", ""),
        stop=out.get("stop"),
        why=why,
        pending=tuple(PendingCall.from_wire(call) for call in out.get("pending", ())),
        message=task["message"][-1]["parts"] if "message" in task else None,
        message_id=task.get("message_id"),
        attempts=attempts,
        deaths=deaths,
        created=created / 1000,
        started=started / 1000 if started else None,
        ended=ended / 1000 if ended else None,
    )


def decision_to_wire(decision: Decision) -> dict[str, Any]:
    """Make JSON of a decision. Raises ConfigurationError if it isn't one, or can't be written down."""
    match decision:
        case Approve():
            wire: dict[str, Any] = {"kind": "approve"}
        case Deny(why):
            wire = {"kind": "deny", "why": why}
        case Edit(args):
            wire = {"kind": "edit", "args": args}
        case Result(value):
            wire = {"kind": "result", "value": value}
        case _:
            raise ConfigurationError(
                f"{decision!r:.80} isn't a decision: give Approve(), Deny(why), Edit(args) or Result(value)."
            )
    copied: dict[str, Any] = as_json("A decision", wire)
    return copied


def decision_from_wire(wire: Mapping[str, Any]) -> Decision:
    """Read what `decision_to_wire` made."""
    match wire:
        case {"kind": "approve"}:
            return Approve()
        case {"kind": "deny"}:
            return Deny(wire["why"])
        case {"kind": "edit"}:
            return Edit(wire["args"])
    return Result(wire["value"])


def as_json(what: str, value: Any) -> Any:
    """Copy a value that is JSON. Raises ConfigurationError if it isn't."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{what} is kept, so it has to be JSON: {error}.") from error
