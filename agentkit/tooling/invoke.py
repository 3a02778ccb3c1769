"""One function call in, exactly one function response out. No I/O here: drivers make the call in between."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.errors import AgentError, ToolError, ToolRetriesExceeded, ToolRetry, ToolTimeout
from agentkit.tooling.context import Context
from agentkit.tooling.results import cut, split_media, to_json
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool
from agentkit.wire.content import FunctionCall, Json, JsonObject, Part, response_part

Kind = Literal["ok", "invalid", "unknown", "retry", "error", "timeout", "cancelled", "refused"]

MAX_CHARS = 100_000
"""The default limit of a result, in characters of its JSON."""
_LISTED = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    The response is `{"output": value}` (null where the tool returned None) or `{"error": text}`; media are in
    the response's `parts` (rule 6).
    """

    kind: Kind
    part: Part
    """The functionResponse part for the model."""
    error: Exception | None = None
    """What went wrong: None only for `ok`, `cancelled` and `refused`.

    `invalid` and `unknown` have an `AgentError`, `retry` the `ToolRetry`; both `invalid` and `retry` have a
    `ToolRetriesExceeded` instead when the tool's retries are used up. Else it is what the tool raised.
    """


@dataclass(slots=True)
class Invocation:
    """A call on its way: either `function` is set, ready to be called, or `outcome` is, already."""

    call: FunctionCall
    context: Context[Any]
    tool: Tool | None = None
    function: Callable[[], Any] | None = None
    """Calls the tool; gives a `Serialised`, or something to await that does."""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Serialised:
    """A tool's result as the model gets it."""

    output: Json
    parts: list[JsonObject]


class Unserialisable(AgentError):
    """A tool has returned what JSON can't hold."""


def prepare(call: FunctionCall, tools: Mapping[str, Tool], context: Context[Any]) -> Invocation:
    """Find the tool of a call and validate its args. Never raises: what is wrong is in the outcome."""
    name: Any = call.get("name")
    invocation = Invocation(call, context, tools.get(name) if isinstance(name, str) else None)
    if invocation.tool is None:
        text = _unknown(str(name or ""), list(tools))
        invocation.outcome = _failed(invocation, "unknown", text, AgentError(text))
        return invocation
    args: Any = call.get("args")
    try:
        if args is None:
            args = {}
        if not isinstance(args, dict):
            raise InvalidArguments([f"the arguments must be an object, not {type(args).__name__}"])
        invocation.function = _serialising(invocation.tool.bind(args, context), invocation.tool.name)
    except Exception as error:  # a validator of the user's own may raise anything
        invocation.outcome = fail(invocation, error)
    return invocation


def succeed(invocation: Invocation, value: Any, *, max_chars: int = MAX_CHARS) -> Outcome:
    """Answer a call with what its tool returned, or with the `Serialised` of it.

    What JSON can't hold (NaN among it) is an `error` outcome. Media are taken out, see
    `agentkit.tooling.results.split_media`. A result over `max_chars` becomes the beginning of its text.
    """
    try:
        made = (
            value if isinstance(value, Serialised) else _serialise(value, _name(invocation.call), max_chars)
        )
    except Unserialisable as error:
        return fail(invocation, error)
    return Outcome("ok", response_part(invocation.call, {"output": made.output}, made.parts))


def _serialising(function: Callable[[], Any], name: str) -> Callable[[], Any]:
    """Make the JSON of a result a part of the call.

    It takes place where the tool runs, in its thread and its time, not on the event loop: a result may be
    large, and an iterator does its work only when it is read.
    """

    def call() -> Any:
        value = function()
        return _Later(value, name) if isinstance(value, Awaitable) else _serialise(value, name)

    return call


@dataclass(frozen=True, slots=True)
class _Later(Awaitable[Serialised]):
    """What an async tool gives. No coroutine: one that nobody awaits any more would be a warning."""

    value: Awaitable[Any]
    name: str

    def __await__(self) -> Generator[Any, Any, Serialised]:
        return _serialise((yield from self.value.__await__()), self.name)


def _serialise(value: Any, name: str, max_chars: int = MAX_CHARS) -> Serialised:
    try:
        rest, parts = split_media(value)
        return Serialised(cut(to_json(rest), max_chars), parts)
    except Exception as error:  # serialisers of the user's own may raise anything
        raise Unserialisable(
            f"The result of the tool {name!r} can't be sent to the model: {error}"
            " Return what JSON can hold: numbers, text, lists, dicts, dataclasses, pydantic models."
        ) from error


def fail(invocation: Invocation, error: BaseException) -> Outcome:
    """Answer a call whose tool, or whose args, raised.

    The model reads the text of `ToolRetry`, `ToolError` and of bad arguments; of any other exception only
    that it happened, for its text may hold secrets.
    """
    name = _name(invocation.call)
    if isinstance(error, InvalidArguments):
        lines = "\n".join(f"- {problem}" for problem in error.problems)
        return _retry(invocation, "invalid", f"The arguments of {name!r} are wrong:\n{lines}", error)
    if isinstance(error, ToolRetry):
        return _retry(invocation, "retry", str(error) or f"Call {name!r} again, with other arguments.", error)
    if isinstance(error, ToolError):
        return _failed(invocation, "error", str(error) or f"The tool {name!r} failed.", error)
    if isinstance(error, Unserialisable):
        text = f"The tool {name!r} has run, but its result can't be shown."
        return _failed(invocation, "error", text, error)
    if isinstance(error, ToolTimeout):
        return _failed(invocation, "timeout", f"The tool {name!r} took too long and was given up.", error)
    if isinstance(error, asyncio.CancelledError):
        return _failed(invocation, "cancelled", f"The call of {name!r} was cancelled.", None)
    text = f"The tool {name!r} failed with an internal error ({type(error).__name__})."
    if isinstance(error, Exception):
        return _failed(invocation, "error", text, error)
    fault = AgentError(f"The tool {name!r} raised {error!r}. A tool ends by returning, or raises ToolError.")
    fault.__cause__ = error
    return _failed(invocation, "error", text, fault)


def refuse(
    invocation: Invocation, reason: str, kind: Kind = "refused", error: Exception | None = None
) -> Outcome:
    """Answer a call that isn't run: a limit is reached, a person said no, the run was cancelled."""
    return _failed(invocation, kind, reason, error)


def _retry(invocation: Invocation, kind: Kind, text: str, error: Exception) -> Outcome:
    name, failures = _name(invocation.call), invocation.context.retry + 1
    if invocation.tool is None or failures <= invocation.tool.retries:
        return _failed(invocation, kind, text, error)
    exceeded = ToolRetriesExceeded(
        f"The tool {name!r} failed {failures} times in a row; the last time: {error}"
    )
    exceeded.__cause__ = error
    stop = f"{text}\nIt failed {failures} times in a row. Do not call {name!r} again; go on without it."
    return _failed(invocation, kind, stop, exceeded)


def _failed(invocation: Invocation, kind: Kind, text: str, error: Exception | None) -> Outcome:
    response: JsonObject = {"error": cut(text, MAX_CHARS)}
    call: Any = {**invocation.call, "name": _name(invocation.call)}
    return Outcome(kind, response_part(call, response), error)


def _name(call: FunctionCall) -> str:
    return str(call.get("name") or "")


def _unknown(name: str, known: list[str]) -> str:
    text = f"There is no tool {name!r}."
    lower = {each.lower(): each for each in known}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower)]
    if close:
        text += f" Did you mean {' or '.join(map(repr, close))}?"
    if not known:
        return f"{text} There are no tools."
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"{text} The tools are: {', '.join(known[:_LISTED])}{more}."
