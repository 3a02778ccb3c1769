"""What a run reports while it happens: one frozen dataclass for each kind of event, each with a JSON form.

As JSON an event is an object with `v` (the version of the form), `type` (its class in snake_case) and its fields in
camelCase; see `to_wire` and `from_wire`. Fields may be added to it: readers leave out what they don't know.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from agentkit.errors import ConfigurationError
from agentkit.limits import Usage, read_by_model, write_by_model
from agentkit.wire.content import Content, FunctionResponse, JsonObject
from agentkit.wire.sources import Source


class _Told:
    """What events have in common."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            told = (
                ": only some events have text. For the text alone, iterate over .texts()"
                if name == "text"
                else ""
            )
            raise AttributeError(f"{type(self).__name__} has no {name}{told}.")


@dataclass(frozen=True, slots=True)
class TextDelta(_Told):
    """A piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputDelta(_Told):
    """What there is so far of a structured output (`run(output=...)`), if the model streams its JSON."""

    value: Any
    """Plain JSON values, not validated yet; the last text may be incomplete. It only grows."""


@dataclass(frozen=True, slots=True)
class ThoughtDelta(_Told):
    """A piece of the model's summary of its thoughts."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted(_Told):
    """A call begins. Also reported for calls that can't run (unknown tool, bad arguments)."""

    call_id: str
    name: str
    args: JsonObject


@dataclass(frozen=True, slots=True)
class ToolProgress(_Told):
    """A tool reports how far it has got (`ctx.progress(...)`)."""

    call_id: str
    name: str
    message: Any


@dataclass(frozen=True, slots=True)
class ToolFinished(_Told):
    """A call has its response."""

    call_id: str
    name: str
    response: FunctionResponse
    """What the model gets."""
    seconds: float
    """How long the call took."""
    error: Exception | None = field(default=None, repr=False)
    """What went wrong, or None. Not in the repr, because a tool's exception may hold secrets."""
    waits: bool = False
    """Whether the result is still to come: the call, or one inside it, is waiting, and `response` only stands in for
    it."""


@dataclass(frozen=True, slots=True)
class ServerToolStarted(_Told):
    """Gemini begins to use a tool of its own: it searches, reads a page, runs code."""

    call_id: str
    name: str
    """As in a request's `tools`: `google_search`, `url_context`, `code_execution`, `file_search`, ..."""
    args: JsonObject
    """What it is given: `queries`, `urls`, `code`; empty where the server doesn't say."""


@dataclass(frozen=True, slots=True)
class ServerToolFinished(_Told):
    """A tool of Gemini's own is done."""

    call_id: str
    name: str
    status: str
    """The server's word, e.g. `OUTCOME_OK` or `URL_RETRIEVAL_STATUS_ERROR`; empty where it has none."""
    result: JsonObject
    """What came of it, as far as the server says: the `output` of code, say."""


@dataclass(frozen=True, slots=True)
class MediaDelta(_Told):
    """A picture, a piece of sound or a file in the reply, or a plot of code that Gemini ran."""

    part: JsonObject
    """Its part on the wire, with `inlineData`, or `fileData` if it is at a URI."""


@dataclass(frozen=True, slots=True)
class SourcesFound(_Told):
    """The sources of the reply that ends now."""

    sources: tuple[Source, ...]
    """Their spans are those of the reply's text."""
    suggestions: str = ""
    """HTML that Google's terms ask to be shown with an answer that rests on its search."""


@dataclass(frozen=True, slots=True)
class ToolsLeftOut(_Told):
    """A source of tools provides none in this run, or not all: it fails, or a name is taken."""

    source: str
    """Its name: that of an MCP server, say."""
    reason: str


@dataclass(frozen=True, slots=True)
class UploadProgress(_Told):
    """A file of the input is being uploaded: reported when it begins, after each piece, and when it can be used."""

    name: str
    sent: int
    """Bytes that have arrived; all of them while the server looks at the file."""
    total: int
    """Bytes of the file."""
    done: bool = False
    """Whether it can be used."""


@dataclass(frozen=True, slots=True)
class FileLost(_Told):
    """A file of an earlier message can no longer be sent: a line that names it stands in for it from here on."""

    name: str
    uri: str
    """Where it was."""


@dataclass(frozen=True, slots=True)
class ModelRetry(_Told):
    """The model didn't answer properly and will be asked again."""

    attempt: int
    """Of the request about to be made: the first retry is 2."""
    delay: float
    """Seconds until then."""
    reason: str
    """Why, e.g. the error or the finish reason."""
    discarded: str = ""
    """Text of this turn that was reported as `TextDelta` and no longer counts: the reply starts again."""


@dataclass(frozen=True, slots=True)
class PrefixChanged(_Told):
    """The next request doesn't extend the one before it, so that a prompt cache hits less of it, or nothing."""

    why: str
    """In words: the tools changed, or the instructions, or what the memory sends."""


@dataclass(frozen=True, slots=True)
class RequestDelayed(_Told):
    """A request waits for its place under the agent's rate limit."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ModelChanged(_Told):
    """A model failed, and the next one replaces it until the run ends."""

    before: str
    after: str
    reason: str
    """What the error of the first model says."""


@dataclass(frozen=True, slots=True)
class MessageAdded(_Told):
    """A user message, sent while the run goes on, is in the history from here on."""

    content: Content


@dataclass(frozen=True, slots=True)
class AgentEvent(_Told):
    """Something that happens in a sub-agent (`Agent.as_tool`)."""

    path: tuple[str, ...]
    """The agents' names, from the outermost sub-agent to the one in which it happens."""
    call_ids: tuple[str, ...]
    """The calls that these agents answer, one for each; the first is a call of this run."""
    event: Event
    """What happens there."""

    @property
    def call_id(self) -> str:
        """The call of this run that the outermost one answers."""
        return self.call_ids[0]


@dataclass(frozen=True, slots=True)
class TurnFinished(_Told):
    """The model has answered; its calls, if any, come next."""

    turn: int
    """From 1."""
    usage: Usage
    """Of this turn."""
    finish_reason: str
    """The server's word, e.g. `STOP`."""
    model: str = ""
    """Which model answered."""
    finish_message: str = ""
    """What the server said about the finish reason, or about a prompt that it blocked."""


@dataclass(frozen=True, slots=True)
class RunFinished(_Told):
    """The last event of every run."""

    run: Any
    """The `Run`."""


Event = (
    TextDelta
    | OutputDelta
    | ThoughtDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ServerToolStarted
    | ServerToolFinished
    | MediaDelta
    | SourcesFound
    | ToolsLeftOut
    | UploadProgress
    | FileLost
    | ModelRetry
    | PrefixChanged
    | RequestDelayed
    | ModelChanged
    | MessageAdded
    | AgentEvent
    | TurnFinished
    | RunFinished
)


VERSION: Final = 1
"""Of the JSON form of events."""


class ToldError(Exception):
    """What went wrong in a call, as read from the JSON form of a `ToolFinished`: only the kind of error."""


def to_wire(event: Event) -> JsonObject:
    """Return an event as JSON.

    Of a tool's error only the kind is included, because its text may hold secrets; what the model gets is in
    `response`. Progress that isn't JSON becomes its repr.
    """
    wire: JsonObject = {"v": VERSION, "type": _snake(type(event).__name__)}
    for each in dataclasses.fields(event):
        wire[_camel(each.name)] = _value_out(event, each.name, getattr(event, each.name))
    return wire


def _value_out(event: Event, name: str, value: Any) -> Any:
    if isinstance(event, ToolProgress) and name == "message":
        return _as_json(value)
    match value:
        case Usage():
            return _usage_out(value)
        case BaseException():
            return str(value) if isinstance(value, ToldError) else type(value).__name__
        case tuple():
            return [dataclasses.asdict(each) if isinstance(each, Source) else each for each in value]
    if name == "event":
        return to_wire(value)
    if name == "run":
        return value if isinstance(value, dict) else json.loads(value.to_json())
    return value


def _as_json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return repr(value)
    except Exception:  # a repr of the user's own may raise anything
        return f"<{type(value).__name__}>"


def _usage_out(usage: Usage) -> JsonObject:
    counts = {_camel(each.name): getattr(usage, each.name) for each in dataclasses.fields(usage)}
    rows = [{_camel(name): value for name, value in row.items()} for row in write_by_model(usage)]
    return {**counts, "byModel": rows}


def from_wire(wire: Mapping[str, Any], *, read_run: Callable[[str], Any] | None = None) -> Event:
    """Read what `to_wire` returned.

    Args:
        wire: The JSON object.
        read_run: Reads the run of a `RunFinished`: `Run.from_json`; without it, the run stays JSON.

    Raises:
        ConfigurationError: It isn't an event, or is one of a newer agentkit.
    """
    if not isinstance(wire, Mapping):
        raise ConfigurationError(f"This isn't an event: {wire!r:.200}.")
    kind = wire.get("type")
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None or wire.get("v") != VERSION:
        raise ConfigurationError(f"This agentkit can't read this event: {dict(wire)!r:.200}.")
    try:
        names = [each.name for each in dataclasses.fields(cls) if _camel(each.name) in wire]
        values = {name: _value_in(name, wire[_camel(name)], read_run) for name in names}
        return cls(**values)  # type: ignore[no-any-return]
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"This event is damaged: {error!r:.200}.") from error


_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(
        (
            "text",
            "call_id",
            "name",
            "reason",
            "discarded",
            "before",
            "after",
            "finish_reason",
            "finish_message",
            "model",
        ),
        str,
    ),
    **dict.fromkeys(("status", "suggestions", "source", "uri"), str),
    **dict.fromkeys(("args", "response", "content", "result", "part"), dict),
    **dict.fromkeys(("seconds", "delay"), (int, float)),
    **dict.fromkeys(("attempt", "turn", "sent", "total"), int),
    **dict.fromkeys(("path", "call_ids", "sources"), list),
    **dict.fromkeys(("waits", "done"), bool),
}


def _value_in(name: str, value: Any, read_run: Callable[[str], Any] | None) -> Any:
    wanted = _TYPES.get(name)
    if wanted is not None and (
        not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)
    ):
        raise ValueError(f"{_camel(name)} is a {type(value).__name__}")
    match name:
        case "usage":
            return _usage_in(value)
        case "error":
            return None if value is None else ToldError(str(value))
        case "path" | "call_ids":
            return tuple(map(str, value))
        case "sources":
            return tuple(Source.from_wire(each) for each in value)
        case "event":
            return from_wire(value, read_run=read_run)
        case "run":
            if not isinstance(value, dict):
                raise ValueError(f"run is a {type(value).__name__}")
            return value if read_run is None else read_run(json.dumps(value))
    return value


def _usage_in(wire: Any) -> Usage:
    counts = {each.name: wire[_camel(each.name)] for each in dataclasses.fields(Usage)}
    rows = counts.pop("by_model")
    if any(type(count) is not (bool if name == "estimated" else int) for name, count in counts.items()):
        raise ValueError("a count isn't a whole number")
    return Usage(**counts, by_model=read_by_model([{_snake(key): row[key] for key in row} for row in rows]))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_KINDS: Final[dict[str, Any]] = {_snake(kind.__name__): kind for kind in get_args(Event)}


class OpenCalls:
    """Calls that have begun and not finished: one that is cut off doesn't tell of its end itself."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, ...], ToolStarted | ServerToolStarted | AgentEvent] = {}

    def in_order(self, event: Event) -> Sequence[Event]:
        """Note an event; return it, after the ends of calls inside one that ends."""
        if not self._begun and not isinstance(event, (ToolStarted, ServerToolStarted, AgentEvent)):
            return (event,)
        inner = _inside(event)
        around = event.call_ids if isinstance(event, AgentEvent) else ()
        inside: list[tuple[str, ...]] = []
        if isinstance(inner, (ModelRetry, ModelChanged, TurnFinished)):
            inside = [key for key in self._begun if key[:-1] == around and self._is_server(key)]
        elif isinstance(inner, (ToolStarted, ServerToolStarted)):
            self._begun[*around, inner.call_id] = event  # type: ignore[assignment] # one of the two
        elif isinstance(inner, (ToolFinished, ServerToolFinished)):
            self._begun.pop((*around, inner.call_id), None)
            if event is inner and isinstance(inner, ToolFinished):
                inside = [key for key in self._begun if key[0] == inner.call_id]
        return (*self.end(inside), event) if inside else (event,)

    def _is_server(self, key: tuple[str, ...]) -> bool:
        return isinstance(_inside(self._begun[key]), ServerToolStarted)

    def end(self, keys: Sequence[tuple[str, ...]] | None = None) -> list[Event]:
        """Return the ends of calls, of all that are still open by default, the last one first."""
        keys = list(self._begun) if keys is None else keys
        return [_cut_off(self._begun.pop(key)) for key in reversed(keys)]


def _inside(event: Event) -> Event:
    return event.event if isinstance(event, AgentEvent) else event


def _cut_off(event: Any) -> Event:
    call: Any = _inside(event)
    text = "Not finished: it was under way and may have taken effect; the run ended before."
    response: FunctionResponse = {"name": call.name, "response": {"error": text}}
    ended: Event = ToolFinished(call.call_id, call.name, response, 0.0)
    if isinstance(call, ServerToolStarted):
        ended = ServerToolFinished(call.call_id, call.name, "", {})
    return AgentEvent(event.path, event.call_ids, ended) if isinstance(event, AgentEvent) else ended
