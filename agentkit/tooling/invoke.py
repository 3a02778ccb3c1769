"""One function call in, exactly one function response out. No I/O here: drivers make the call in between."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from agentkit.errors import AgentError, ToolDeferred, ToolError, ToolRetriesExceeded, ToolRetry, ToolTimeout
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import PendingCall
from agentkit.tooling.media import split_media
from agentkit.tooling.results import cut, sendable, to_json, to_text
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool
from agentkit.wire.content import FunctionCall, Json, JsonObject, Part, response_part

Kind = Literal["ok", "invalid", "unknown", "retry", "error", "timeout", "cancelled", "refused", "waits"]

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
    """What went wrong: None only for `ok`, `cancelled`, `refused` and `waits`.

    `invalid` and `unknown` have an `AgentError`, `retry` the `ToolRetry`; both `invalid` and `retry` have a
    `ToolRetriesExceeded` instead when the tool's retries are used up. Else it is what the tool raised.
    """
    whole: str | None = None
    """The whole result as text, if the part has only its beginning."""
    deferred: ToolDeferred | None = None
    """Of `waits`: what the tool raised to say that its result comes later."""
    pending: tuple[PendingCall, ...] = ()
    """Of `waits`: the calls that somebody must say something about, this one or some inside it."""


@dataclass(slots=True, eq=False)
class Invocation:
    """A call on its way: either `function` is set, ready to be called, or `outcome` is, already."""

    call: FunctionCall
    context: Context[Any]
    tool: Tool | None = None
    function: Callable[[], Any] | None = None
    """Calls the tool; gives a `Serialised`, or something to await that does."""
    args: JsonObject | None = None
    """What it is called with where that isn't what the model said."""
    outcome: Outcome | None = None
    approved: bool = False
    """Whether somebody has said that it may run."""
    stored: bool = False
    """Whether what became of it is stored, in a run that has a store."""
    seconds: float | None = None
    """How long the tool took, if it was called in this run."""


@dataclass(slots=True)
class Serialised:
    """A tool's result as the model gets it."""

    output: Json
    parts: list[JsonObject]
    whole: str | None = None
    """The whole output as text, if `output` has only its beginning."""


class Unserialisable(AgentError):
    """A tool has returned what JSON can't hold."""


def prepare(
    call: FunctionCall, tools: Mapping[str, Tool], context: Context[Any], *, max_chars: int = MAX_CHARS
) -> Invocation:
    """Find the tool of a call and validate its args. Never raises: what is wrong is in the outcome.

    A result over `max_chars` of JSON will be cut.
    """
    invocation = Invocation(call, context)
    make_ready(invocation, tools, max_chars=max_chars)
    return invocation


def make_ready(invocation: Invocation, tools: Mapping[str, Tool], *, max_chars: int = MAX_CHARS) -> None:
    """Do the same for one that is there."""
    call, call_id = invocation.call, invocation.context.call_id
    name: Any = call.get("name")
    invocation.tool = tools.get(name) if isinstance(name, str) else None
    if invocation.tool is None:
        text = _unknown(str(name or ""), list(tools))
        invocation.outcome = _failed(invocation, "unknown", text, AgentError(text))
        return
    args: Any = call.get("args")
    _bind(invocation, {} if args is None else args, _Shape(invocation.tool.name, call_id, max_chars))


def edit(invocation: Invocation, args: JsonObject, who: str, *, max_chars: int = MAX_CHARS) -> None:
    """Have a call made with other arguments; its result says so, and by whom: the model would think otherwise."""
    assert invocation.tool is not None
    invocation.args, invocation.outcome = args, None
    note = f"{who} changed the arguments before the call was made, to {to_text(args)}"
    shape = _Shape(invocation.tool.name, invocation.context.call_id, max_chars, note)
    _bind(invocation, args, shape)


def _bind(invocation: Invocation, args: Any, shape: _Shape) -> None:
    assert invocation.tool is not None
    try:
        if not isinstance(args, dict):
            raise InvalidArguments([f"the arguments must be an object, not {type(args).__name__}"])
        invocation.function = _serialising(invocation.tool.bind(args, invocation.context), shape)
    except Exception as error:  # a validator of the user's own may raise anything
        invocation.outcome = fail(invocation, error)


def succeed(invocation: Invocation, value: Any, *, max_chars: int = MAX_CHARS) -> Outcome:
    """Answer a call with what its tool returned, or with the `Serialised` of it.

    What JSON can't hold is an `error` outcome; see `agentkit.tooling.results.sendable` for what the server
    doesn't take. Media are taken out, see `agentkit.tooling.media.split_media`. A result over `max_chars` becomes
    the beginning of its text.
    """
    try:
        shape = _Shape(_name(invocation.call), invocation.context.call_id, max_chars)
        made = value if isinstance(value, Serialised) else _serialise(value, shape)
    except Unserialisable as error:
        return fail(invocation, error)
    part = response_part(invocation.call, {"output": made.output}, made.parts)
    return Outcome("ok", part, whole=made.whole)


@dataclass(slots=True, eq=False)
class _Shape:
    """How the result of a call is made JSON."""

    name: str
    key: str
    """Under which the whole of it is kept."""
    max_chars: int
    note: str | None = None
    """What is said along with it."""


def _serialising(function: Callable[[], Any], shape: _Shape) -> Callable[[], Any]:
    """Make the JSON of a result a part of the call.

    It takes place where the tool runs, in its thread and its time, not on the event loop: a result may be
    large, and an iterator does its work only when it is read.
    """

    def call() -> Any:
        value = function()
        return _Later(value, shape) if isinstance(value, Awaitable) else _serialise(value, shape)

    return call


@dataclass(slots=True, eq=False)
class _Later(Awaitable[Serialised]):
    """What an async tool gives. No coroutine: one that nobody awaits any more would be a warning."""

    value: Awaitable[Any]
    shape: _Shape

    def __await__(self) -> Generator[Any, Any, Serialised]:
        return _serialise((yield from self.value.__await__()), self.shape)


def _serialise(value: Any, shape: _Shape) -> Serialised:
    name = shape.name
    try:
        rest, parts = split_media(value)
        output, text, change = sendable(to_json(rest), rest)
        if note := " ".join(filter(None, (shape.note, change))):
            output = {"result": output, "note": note}
            text = to_text(output)
        shown, whole = cut(output, shape.max_chars, key=shape.key, text=text)
        return Serialised(shown, parts, whole)
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
    if isinstance(error, ToolDeferred):
        return _defer(invocation, error)
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


def hold(invocation: Invocation, kind: Literal["approval", "unknown_effect"], why: str) -> PendingCall:
    """Let a call wait until somebody says something about it; return how it stands in `run.pending`."""
    texts = {
        "approval": "Not run yet: the call waits for a person's approval.",
        "unknown_effect": "It was under way when its process ended; nobody knows yet whether it took effect.",
    }
    part = response_part(_named(invocation), {"error": texts[kind]})
    pending = _pending(invocation, kind, why)
    invocation.outcome = Outcome("waits", part, pending=(pending,))
    return pending


def hold_back(invocation: Invocation, front: str) -> None:
    """Let a call that runs in order wait for one in front of it, of the tool `front`: nobody is asked about it."""
    text = f"Not begun: it runs after the call of {front!r} in front of it, which waits."
    invocation.outcome = Outcome("waits", response_part(_named(invocation), {"error": text}))


def _defer(invocation: Invocation, deferred: ToolDeferred) -> Outcome:
    why = str(deferred) or f"The tool {_name(invocation.call)!r} will have its result later."
    part = response_part(_named(invocation), {"error": "Not done yet: the result comes later."})
    pending = deferred.pending or (_pending(invocation, "deferred", why),)
    return Outcome("waits", part, deferred=deferred, pending=pending)


def _pending(
    invocation: Invocation, kind: Literal["approval", "deferred", "unknown_effect"], why: str
) -> PendingCall:
    call_id, name = invocation.context.call_id, _name(invocation.call)
    return PendingCall(call_id=call_id, name=name, args=args_of(invocation), kind=kind, why=why)


def args_of(invocation: Invocation) -> JsonObject:
    """Copy a call's arguments: whoever gets them may do with them what they like."""
    args: Any = invocation.call.get("args") if invocation.args is None else invocation.args
    return copy.deepcopy(args or {})


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
    response: JsonObject = {"error": cut(text, MAX_CHARS)[0]}
    return Outcome(kind, response_part(_named(invocation), response), error)


def _named(invocation: Invocation) -> FunctionCall:
    call: Any = {**invocation.call, "name": _name(invocation.call)}
    return cast(FunctionCall, call)


def _name(call: FunctionCall) -> str:
    return str(call.get("name") or "")


def _unknown(name: str, known: list[str]) -> str:
    import difflib  # here, as it is seldom needed

    text = f"There is no tool {name!r}."
    lower = {each.lower(): each for each in known}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower)]
    if close:
        text += f" Did you mean {' or '.join(map(repr, close))}?"
    if not known:
        return f"{text} There are no tools."
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"{text} The tools are: {', '.join(known[:_LISTED])}{more}."
