"""What a developer may put into a run: functions that are called before and after the model and the tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

from agentkit.errors import ConfigurationError, ModelError
from agentkit.tooling.context import Context
from agentkit.wire.arguments import checked
from agentkit.wire.content import FunctionResponse, JsonObject, Reply, Request, dumps
from agentkit.wire.history import check
from agentkit.wire.reply import ReplyAssembler
from agentkit.wire.signatures import signed_by_nobody


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions that a run calls on its way, sync or async. What they return changes it; None changes nothing.

    They are the developer's own code: what they raise ends the run as it is, with a valid history. They run
    one at a time, and count in `Limits.seconds`. `before_model` and `after_model` hear of every request: turns,
    repairs, continuations, summaries, last turns and, `before_model` alone, counts; `ctx.purpose` says which. A
    structured output that comes as a call is not a tool's: its validator is asked, and those of tools are not.
    """

    before_model: Callable[[Request, Context[Any]], Any] | None = None
    """Gets a copy of the request, and may change it in place. May return a request, to be sent in its place; a
    reply (`agentkit.testing.reply(...)`), to be taken without asking; or `Deny(why)`: the run stops with
    `stop="refused"`. A summary that is denied is not made; tokens whose count is denied are estimated."""
    after_model: Callable[[Reply, Context[Any]], Any] | None = None
    """Gets the whole reply. May return a reply, to be taken in its place, or `Deny(why)`: it is dropped and the
    run stops with `stop="refused"`. Text that was streamed has been shown by then."""
    before_tool: Callable[[JsonObject, Context[Any]], Any] | None = None
    """Gets a call's arguments, `ctx.tool_name` says of which tool. Called before anybody is asked for approval.
    May return `Edit(args)`, `Deny(why)`, or `Result(value)`, to be taken without running the tool. An `Edit`
    that doesn't fit the tool is a `ConfigurationError`: it is no mistake of the model's."""
    after_tool: Callable[[FunctionResponse, Context[Any]], Any] | None = None
    """Gets the response of a call that was run, before it is stored. May return `Result(value)` or `Deny(why)`,
    which go to the model in its place. Until it has answered, nothing of the response is stored or told."""

    def __post_init__(self) -> None:
        for each in fields(self):
            hook = getattr(self, each.name)
            if hook is not None and not callable(hook):
                raise ConfigurationError(f"Hooks({each.name}={hook!r:.100}): give a function, or None.")


def check_request(said: JsonObject) -> None:
    """Refuse a request that a hook made and no server takes.

    Raises:
        ConfigurationError: Its contents are none.
        HistoryError: They break a rule of the server.
    """
    contents = said.get("contents")
    if not isinstance(contents, (list, tuple)) or not contents:
        raise ConfigurationError(
            f"A hook returned a request with the contents {contents!r:.100}: give a list."
        )
    check(contents)


def made_by_hook(said: JsonObject, model: str) -> Reply:
    """Read a reply that a hook made in a model's place.

    Raises:
        ConfigurationError: It is none.
    """
    assembler = ReplyAssembler()
    try:
        dumps(said)
        assembler.add(cast(Reply, said))
        assembler.text.encode()
        parts = signed_by_nobody(assembler.parts, model)
    except (ModelError, AttributeError, TypeError, ValueError, LookupError, RecursionError) as error:
        raise ConfigurationError(
            f"A hook returned {said!r:.200}, which is no reply: make one with agentkit.testing.reply(...)."
        ) from error
    reply = assembler.reply()
    if "candidates" in reply:
        reply["candidates"][0]["content"]["parts"] = parts
    return reply
