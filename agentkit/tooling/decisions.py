"""What a person, or a program in a person's place, says of a call that waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentkit.wire.arguments import checked, reader
from agentkit.wire.content import JsonObject


@dataclass(frozen=True, slots=True)
class Approve:
    """Run the call as it is."""


@checked
@dataclass(frozen=True, slots=True)
class Deny:
    """Don't run the call; the model is told so, and why."""

    why: str = ""


@checked
@dataclass(frozen=True, slots=True)
class Edit:
    """Run the call with other arguments; they are validated as the model's are, and the model is told of them."""

    args: JsonObject


@checked
@dataclass(frozen=True, slots=True)
class Result:
    """Take this for what the tool returned, without running it: the result of a deferred tool has arrived."""

    value: Any


Decision = Approve | Deny | Edit | Result


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCall:
    """A call that somebody has to say something about."""

    call_id: str
    """The one in the tool's `ctx.call_id`; a decision is given under it."""
    name: str
    args: JsonObject
    kind: Literal["approval", "deferred", "unknown_effect"] = "approval"
    """Whether it waits for a decision or for its result, or nobody knows whether it took effect."""
    why: str = ""
    """Why it waits, in words."""
    path: tuple[str, ...] = ()
    """The agents it was made in, from the outermost sub-agent on; empty for the run's own."""
    call_ids: tuple[str, ...] = ()
    """The calls that these agents answer, one each."""

    def to_wire(self) -> JsonObject:
        """Make JSON of it."""
        return {
            "callId": self.call_id,
            "name": self.name,
            "args": self.args,
            "kind": self.kind,
            "why": self.why,
            "path": list(self.path),
            "callIds": list(self.call_ids),
        }

    @classmethod
    @reader
    def from_wire(cls, wire: JsonObject) -> PendingCall:
        """Read what `to_wire` made. Raises ConfigurationError where it isn't that."""
        return cls(
            call_id=wire["callId"],
            name=wire["name"],
            args=wire["args"],
            kind=wire["kind"],
            why=wire["why"],
            path=tuple(wire["path"]),
            call_ids=tuple(wire.get("callIds", ())),
        )
