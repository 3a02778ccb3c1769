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
    """Don't run the call. The model is told so, and why."""

    why: str = ""


@checked
@dataclass(frozen=True, slots=True)
class Edit:
    """Run the call with other arguments. They are validated like the model's own, and the model is told about them."""

    args: JsonObject


@checked
@dataclass(frozen=True, slots=True)
class Result:
    """Use this as the tool's result without running the tool, such as the result of a deferred tool."""

    value: Any


Decision = Approve | Deny | Edit | Result


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCall:
    """A call that needs a decision."""

    call_id: str
    """The tool's `ctx.call_id`; decisions are given by it."""
    name: str
    args: JsonObject
    kind: Literal["approval", "deferred", "unknown_effect"] = "approval"
    """Whether it is waiting for a decision or for its result, or its effect is unknown."""
    why: str = ""
    """Why it is waiting, in words."""
    path: tuple[str, ...] = ()
    """The agents in which it was made, from the outermost sub-agent inwards; empty for the run's own calls."""
    call_ids: tuple[str, ...] = ()
    """The calls that these agents answer, one for each."""

    def __hash__(self) -> int:
        return hash(self.call_id)

    def to_wire(self) -> JsonObject:
        """Return it as JSON."""
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
        """Read what `to_wire` returned. Raises ConfigurationError if it is something else."""
        return cls(
            call_id=wire["callId"],
            name=wire["name"],
            args=wire["args"],
            kind=wire["kind"],
            why=wire["why"],
            path=tuple(wire["path"]),
            call_ids=tuple(wire.get("callIds", ())),
        )
