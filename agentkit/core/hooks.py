"""What a developer may put into a run: functions that are called before and after the model and the tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from reprlib import repr as short
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
    """Functions that a run calls, sync or async. A return value replaces something; None changes nothing.

    An exception that a hook raises ends the run, with a valid history. Hooks run one at a time and count towards
    `Limits.seconds`. `before_model` and `after_model` see every request: turns, repairs, continuations, summaries and
    last turns. `before_model` also sees token counts. `ctx.purpose` says which it is. Structured output that arrives
    as a function call goes to its validator, not to the tool hooks.
    """

    before_model: Callable[[Request, Context[Any]], Any] | None = None
    """Gets a copy of the request, and may change it in place. May return a request, to send instead; a reply
    (`agentkit.testing.reply(...)`), to use without asking; or `Deny(why)`, which stops the run with `stop="refused"`.
    If a summary is denied, it isn't made; if a token count is denied, it is estimated."""
    after_model: Callable[[Reply, Context[Any]], Any] | None = None
    """Gets the complete reply. May return another reply, to use instead, or `Deny(why)`: the reply is dropped and the
    run stops with `stop="refused"`. Streamed text has been shown by then."""
    before_tool: Callable[[JsonObject, Context[Any]], Any] | None = None
    """Gets a call's arguments; `ctx.tool_name` is the tool. Runs before anybody is asked for approval. May return
    `Edit(args)`, `Deny(why)`, or `Result(value)`, to use without running the tool. An `Edit` that doesn't fit the tool
    raises `ConfigurationError`, because it isn't the model's mistake."""
    after_tool: Callable[[FunctionResponse, Context[Any]], Any] | None = None
    """Gets the response of a call that was run, before it is stored. May return `Result(value)` or `Deny(why)`, which
    go to the model instead. Nothing of the response is stored or reported until the hook has returned."""

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
            f"A hook returned a request with the contents {short(contents)}: give a list."
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
            f"A hook returned {short(said)}, which isn't a reply: make one with agentkit.testing.reply(...)."
        ) from error
    reply = assembler.reply()
    if "candidates" in reply:
        reply["candidates"][0]["content"]["parts"] = parts
    return reply
