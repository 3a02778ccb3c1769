"""What a developer may put into a run: functions that are called before and after the model and the tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentkit.tooling.context import Context
from agentkit.wire.content import FunctionResponse, JsonObject, Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions that a run calls on its way, sync or async. What they return changes it; None changes nothing.

    They are the developer's own code: what they raise ends the run as it is, with a valid history. They run
    one at a time, and count in `Limits.seconds`. What they get is theirs to read, not to change in place:
    return something new instead.
    """

    before_model: Callable[[Request, Context[Any]], Any] | None = None
    """Gets the request. May return a request, to be sent in its place; a reply (`agentkit.testing.reply(...)`),
    to be taken without asking; or `Deny(why)`: the run stops with `stop="refused"`."""
    after_model: Callable[[Reply, Context[Any]], Any] | None = None
    """Gets the whole reply. May return a reply, to be taken in its place, or `Deny(why)`: it is dropped and the
    run stops with `stop="refused"`. Text that was streamed has been shown by then."""
    before_tool: Callable[[JsonObject, Context[Any]], Any] | None = None
    """Gets a call's arguments, `ctx.tool_name` says of which tool. Called before anybody is asked for approval.
    May return `Edit(args)`, `Deny(why)`, or `Result(value)`, to be taken without running the tool."""
    after_tool: Callable[[FunctionResponse, Context[Any]], Any] | None = None
    """Gets the response of a call that was run, before it is stored. May return `Result(value)` or `Deny(why)`,
    which go to the model in its place."""
