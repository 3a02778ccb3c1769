"""What a person says of waiting calls, as it comes in JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentkit import Approve, ConfigurationError, Deny, Edit, PendingCall, Result
from agentkit.tooling.decisions import Decision


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run a call again of which nobody knows whether it took effect: it didn't."""


Said = Decision | RunAgain


def read_decision(said: Any) -> Said:
    """Read `{kind: approve | deny | edit | result | again, why, args, value}`.

    Raises:
        ConfigurationError: It is nothing of that.
    """
    match said:
        case {"kind": "approve"}:
            return Approve()
        case {"kind": "deny"}:
            return Deny(str(said.get("why") or ""))
        case {"kind": "edit", "args": dict(args)}:
            return Edit(args)
        case {"kind": "result", "value": value}:
            return Result(value)
        case {"kind": "again"}:
            return RunAgain()
    raise ConfigurationError(
        "A decision has a kind: approve, deny (why), edit (args), result (value) or again."
    )


async def settle(
    said: Mapping[str, Said], pending: Iterable[PendingCall], resolve: Callable[..., Awaitable[Any]]
) -> dict[str, Decision]:
    """Resolve the calls of which nobody knows whether they took effect; return what was said of the others.

    Args:
        said: By the calls' ids.
        pending: The calls that wait.
        resolve: As `AsyncChat.resolve`.

    Raises:
        ConfigurationError: What was said fits no call.
    """
    unknown = {call.call_id for call in pending if call.kind == "unknown_effect"}
    decisions: dict[str, Decision] = {}
    for call_id, each in said.items():
        match each:
            case RunAgain():
                await resolve(call_id, retry=True)
            case Result(value) if call_id in unknown:
                await resolve(call_id, result=value)
            case _ if call_id in unknown:
                raise ConfigurationError(
                    "Nobody knows whether this call took effect: give its result, or let it run again."
                )
            case _:
                decisions[call_id] = each
    return decisions
