"""What is written down as JSON: one form and one strict reader, for runs, archives and what rows hold."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Annotated, Any, Final, Literal, NoReturn, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from agentkit.errors import AgentError, ConfigurationError
from agentkit.limits import MOST as MOST
from agentkit.limits import Limits, ModelUsage, Stop, Usage
from agentkit.stores.message import Message
from agentkit.stores.run_formats import FORMAT as FORMAT
from agentkit.stores.run_formats import upgraded
from agentkit.stores.steps import StoredCall
from agentkit.tooling.config import config_in
from agentkit.tooling.decisions import PendingCall
from agentkit.traits import Price
from agentkit.wire.content import Content, JsonObject, calls_of, keep, response_part
from agentkit.wire.history import check_order, check_shape

MAX_DEPTH: Final = 300
"""How deep values may be nested: a run holds those of its sub-agents."""

# -- the reader


class Damaged(ValueError):
    """Raised where what was written down can't be read: it says at which place."""


def parse(text: str | bytes) -> Any:
    """Decode JSON, as strictly as it is encoded. Raises Damaged."""
    try:
        text = (text if isinstance(text, str) else text.decode(json.detect_encoding(text))).strip()
        value, end = _DECODER.raw_decode(text)  # `loads` looks for spaces and a byte order mark, each time
        if end != len(text):
            raise ValueError("something comes behind it")
    except RecursionError as error:
        raise Damaged(_DEEP) from error
    except (TypeError, ValueError) as error:
        raise Damaged(f"it isn't JSON: {error}") from error
    return value


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"JSON has no number {number}")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_DEEP = f"it is nested more than {MAX_DEPTH} deep"


def plain(value: Any, depth: int = 0) -> Any:
    """Copy a value of JSON. Raises Damaged if it isn't one, or is nested too deep."""
    if depth > MAX_DEPTH:
        raise Damaged(_DEEP)
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise Damaged(f"{odd[0]!r} can't be a key in JSON")
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise Damaged(f"{short(value)} has no form in JSON")


def read(kind: type[R], value: Any) -> R:
    """Check every field of a value. Raises Damaged, with the first place where something is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise Damaged(_first(error)) from error


def _first(error: ValidationError) -> str:
    wrong = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in wrong["loc"])
    said = re.sub(r"^Value error, | or instance of \w+", "", wrong["msg"])
    found = "" if wrong["type"] in ("missing", "value_error") else f", not {short(wrong['input'])}"
    place = place.removeprefix(".")
    between = ": " if place and not said.startswith(("[", ":", "=")) else ""
    return f"{place:.200}{between}{said:.500}{found:.200}"


class Record(BaseModel):
    """Something that is written down, in the wire's names; those of Python are read, too."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def wire(self) -> JsonObject:
        """Make JSON of it; what is as by default is left out."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


R = TypeVar("R", bound=Record)


def as_text(wire: JsonObject, indent: int | None = None) -> str:
    """Write JSON as a text that can be encoded: a lone surrogate is an escape of JSON's."""
    text = json.dumps(wire, ensure_ascii=False, allow_nan=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()


# -- messages


def _short(id: str) -> str:
    if not 1 <= len(id) <= 200:
        raise ValueError(f"an id has 1 to 200 characters, not {len(id)}")
    return id


Count = Annotated[int, Field(ge=0, lt=MOST)]
Id = Annotated[str, AfterValidator(_short)]


class ModelUsageRecord(Record):
    """What was used of one model."""

    model: str
    long: bool = False
    tier: str = ""
    requests: Count = 0
    input_tokens: Count = 0
    cached_tokens: Count = 0
    output_tokens: Count = 0
    audio_tokens: Count = 0
    cached_audio_tokens: Count = 0
    image_output_tokens: Count = 0
    audio_output_tokens: Count = 0


class UsageRecord(Record):
    """A usage."""

    requests: Count = 0
    given_up: Count = 0
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    candidates_tokens: Count = 0
    thoughts_tokens: Count = 0
    tool_use_prompt_tokens: Count = 0
    total_tokens: Count = 0
    estimated: bool = False
    by_model: list[ModelUsageRecord] = []

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Write a usage down. Raises Damaged if it couldn't be read."""
        return read(cls, dataclasses.asdict(usage) | {"by_model": [*map(dataclasses.asdict, usage.by_model)]})

    def usage(self) -> Usage:
        """Make the usage again."""
        used = tuple([ModelUsage(**row.__dict__) for row in self.by_model])
        return Usage(**self.__dict__ | {"by_model": used})


class FileRecord(Record):
    """A file that the server keeps, and which part of its message refers to it."""

    part: Count
    uri: str
    mime_type: str
    name: str = ""
    sha256: str = ""
    path: str | None = None
    expires: float | None = None
    at: str = ""


class NotesRecord(Record):
    """What is noted of a content's parts: the files that they refer to, and results that are no longer sent."""

    files: list[FileRecord] = []
    cleared: dict[str, str] = {}

    def notes(self) -> dict[str, Any]:
        """Make it again, as a message has it."""
        files = [each.model_dump(by_alias=True, exclude_unset=True) for each in self.files]
        return {"files": files or (), "cleared": self.cleared}


class MessageRecord(NotesRecord):
    """A message."""

    content: JsonObject
    created: float | None
    model: str | None = None
    endpoint: str | None = None
    usage: UsageRecord | None = None
    finish_reason: str | None = None
    metadata: JsonObject | None = None
    sender_id: Id | None = None
    given: JsonObject | None = None

    @classmethod
    def of(cls, message: Message) -> Self:
        """Write a message down. Raises Damaged if it couldn't be read."""
        known = {each.name: getattr(message, each.name) for each in dataclasses.fields(message)}
        usage = None if message.usage is None else UsageRecord.of(message.usage)
        more = {"content": {**message.content}, "usage": usage, "files": [*message.files]}
        return read(cls, known | more | {"cleared": {**message.cleared}})

    def message(self) -> Message:
        """Make the message again."""
        content: Any = self.content
        usage = None if self.usage is None else self.usage.usage()
        return Message(**self.__dict__ | self.notes() | {"content": keep(content), "usage": usage})


def sound(messages: Sequence[MessageRecord], calls: Sequence[CallRecord] = ()) -> list[Content]:
    """Return the contents of messages, which are a history; `calls` are those that its end leaves open.

    Raises:
        ValueError: They aren't, or what a message was given can't be read.
    """
    contents: list[Any] = [message.content for message in messages]
    for index, content in enumerate(contents):
        check_shape(content, index)
    if calls:
        contents.append(answers_to(contents[-1] if contents else {"parts": []}, calls))
    check_order(contents)
    for index, message in enumerate(messages):
        if message.given is not None:
            try:
                read(GivenRecord, message.given)
            except Damaged as error:
                raise Damaged(f"messages[{index}].given.{error}") from error
    return contents


class GivenRecord(Record):
    """What a run was given, as far as it can be written down."""

    instructions: str | None = None
    tool_choice: str | list[str] | None = None
    model: list[str] | None = None
    limits: JsonObject | None = None
    config: JsonObject | None = None
    again: list[str] = []
    """The options that have to be given again."""

    @field_validator("config")
    @classmethod
    def _can_work(cls, config: JsonObject | None) -> JsonObject | None:
        try:
            return None if config is None else config_in(config)
        except ConfigurationError as error:
            raise ValueError(str(error).removeprefix("config")) from error

    @model_validator(mode="after")
    def _has_sound_limits(self) -> Self:
        self.limits_given()
        return self

    def limits_given(self) -> Limits | None:
        """Make the limits again. Raises Damaged if they are none."""
        if self.limits is None:
            return None
        fields = {**self.limits}
        try:
            if (prices := fields.pop("prices", None)) is not None:
                fields["prices"] = {name: Price.from_wire(price) for name, price in prices.items()}
            return Limits(**fields)
        except (TypeError, AttributeError, LookupError, ValueError) as error:
            raise Damaged(f"its limits can't be read: {error}") from error


# -- calls that wait


class PendingRecord(Record):
    """A call that somebody has to say something about."""

    call_id: str
    name: str
    args: JsonObject
    kind: Literal["approval", "deferred", "unknown_effect"]
    why: str
    path: list[str]
    call_ids: list[str] = []

    def pending(self) -> PendingCall:
        """Make it again."""
        return PendingCall(**self.__dict__ | {"path": tuple(self.path), "call_ids": tuple(self.call_ids)})


class DeferredRecord(Record):
    """What a call waits for."""

    args: JsonObject | None = None
    why: str
    state: JsonObject | None
    pending: list[PendingRecord]

    @model_validator(mode="after")
    def _holds_a_sound_run(self) -> Self:
        if self.state is not None and "agentkitRun" in self.state:  # a sub-agent's
            _run_in(self.state)
        return self


class CallRecord(Record):
    """What the ledger knows of a call."""

    index: Count
    call_id: str
    name: str
    effect: Literal["read", "write"] | None
    started: bool = False
    response: JsonObject | None = None
    deferred: DeferredRecord | None = None
    args: JsonObject | None = None
    why: str | None = None
    declared: str | None = None

    @model_validator(mode="after")
    def _has_its_own_response(self) -> Self:
        part = None if self.response is None else self.response.get("functionResponse", "")
        if part is not None and not (
            isinstance(part, dict)
            and part.get("name") == self.name
            and isinstance(part.get("response"), dict)
        ):
            raise ValueError(f"what stands as the response to {self.name!r} isn't one")
        return self

    @classmethod
    def of(cls, call: StoredCall) -> Self:
        """Write an entry of the ledger down. Raises Damaged if it couldn't be read."""
        return read(cls, {each.name: getattr(call, each.name) for each in dataclasses.fields(call)})

    def call(self) -> StoredCall:
        """Make the entry again."""
        deferred = None if self.deferred is None else self.deferred.model_dump(by_alias=True)
        return StoredCall(**self.__dict__ | {"deferred": deferred})


def answers_to(content: Any, calls: Sequence[CallRecord]) -> Content:
    """Make the responses to a content's open calls, or what stands in for them.

    Raises:
        ValueError: They aren't those of the content.
    """
    own = calls_of(content)
    if [(index, call["name"]) for index, call in enumerate(own)] != [(c.index, c.name) for c in calls]:
        raise ValueError("its open calls are not those of its last turn")
    if len({call.call_id for call in calls}) < len(own):
        raise ValueError("two of its open calls have one id")
    parts: list[Any] = [
        response_part(call, {}) if each.response is None else each.response
        for each, call in zip(calls, own, strict=True)
    ]
    return {"role": "user", "parts": parts}


class WaitingRecord(Record):
    """The calls of a run that wait: the ledger, and what somebody has to say something about."""

    calls: Annotated[list[CallRecord], Field(min_length=1)]
    pending: list[PendingRecord]


# -- runs


class EndRecord(Record):
    """How a run ended."""

    text: str
    said: str = ""
    stop: Stop | None
    why: str
    limit: Stop | None
    finish_reason: str | None
    errors: list[str]
    metadata: JsonObject | None = None

    @classmethod
    def of(cls, run: Any, metadata: JsonObject | None) -> Self:
        """Write down how a run ended; of its errors only the kinds are, for their texts may hold secrets."""
        told = {name: getattr(run, name) for name in cls.model_fields if name not in ("errors", "metadata")}
        return cls(**told, errors=[kind_of(error) for error in run.errors], metadata=metadata)


class UsedRecord(Record):
    """What a run used."""

    model: str
    usage: UsageRecord
    turns: list[UsageRecord]

    @classmethod
    def of(cls, run: Any) -> Self:
        """Write down what a run used."""
        turns = [UsageRecord.of(usage) for usage in run.turn_usages]
        return cls(model=run.model, usage=UsageRecord.of(run.usage), turns=turns)


class RunRecord(Record):
    """A run."""

    agentkit_run: Literal[3]
    run_id: str
    session_id: str | None
    given: GivenRecord
    messages: list[MessageRecord]
    started_with: Count
    results: dict[str, str]
    waiting: WaitingRecord | None
    ended: EndRecord
    used: UsedRecord

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        contents = sound(self.messages)
        if self.started_with > len(contents):
            raise ValueError(f"it begins at message {self.started_with} of {len(contents)}")
        if self.waiting is not None:
            sound(self.messages[:-1], self.waiting.calls)
        return self


class NotedError(AgentError):
    """An error of which only the kind was written down."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} (its text was not kept)")
        self.kind = kind


def kind_of(error: Exception) -> str:
    """Return the kind of an error, as it is written down."""
    return error.kind if isinstance(error, NotedError) else type(error).__name__


def _run_in(wire: JsonObject) -> RunRecord:
    """Read a run, of an earlier format too. Raises Damaged."""
    try:
        return read(RunRecord, upgraded(wire))
    except Damaged:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise Damaged(f"what an earlier agentkit wrote: {error!r:.200}") from error


NOT_A_RUN: Final = "This isn't a run that Run.to_json() wrote, or it is damaged"


def read_run(text: str | bytes) -> RunRecord:
    """Read what `Run.to_json` wrote.

    Raises:
        ConfigurationError: It isn't a run, or is damaged, or of a newer agentkit.
    """
    try:
        wire = plain(parse(text))
        version = wire.get("agentkitRun") if isinstance(wire, dict) else None
        if type(version) is not int:
            raise ConfigurationError("This isn't a run that Run.to_json() wrote.")
        if version > FORMAT:
            raise ConfigurationError("This run was written by a newer agentkit: it can't be read here.")
        return _run_in(wire)
    except (Damaged, RecursionError) as error:
        said = error if isinstance(error, Damaged) else _DEEP
        raise ConfigurationError(f"{NOT_A_RUN}: {said}.") from error
