"""A run as JSON: written down whole, and read with every field checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

from agentkit.errors import AgentError, ConfigurationError
from agentkit.limits import KINDS, ModelUsage, Stop, Usage
from agentkit.stores.message import Message
from agentkit.stores.steps import StoredCall
from agentkit.wire.content import Content, JsonObject, calls_of, dumps, keep, response_part
from agentkit.wire.history import check

FORMAT: Final = 2
MAX_DEPTH: Final = 300
"""Levels of JSON: a run holds those of its sub-agents."""
Count = Annotated[int, Field(ge=0, lt=2**62)]


class _Record(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )


class ModelUsageRecord(_Record):
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

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kinds = {to_camel(name) for name in KINDS}
        return {name: value for name, value in write(self).items() if value or name not in kinds}


class UsageRecord(_Record):
    """A usage, what is zero left out."""

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
        """Write a usage down."""
        return cls.model_validate(
            dataclasses.asdict(usage) | {"by_model": list(map(_usage_of, usage.by_model))}
        )

    def usage(self) -> Usage:
        """Make the usage again."""
        used = tuple(ModelUsage(**row.model_dump()) for row in self.by_model)
        return Usage(**self.model_dump(exclude={"by_model"}), by_model=used)


def _usage_of(used: ModelUsage) -> ModelUsageRecord:
    return ModelUsageRecord(**dataclasses.asdict(used))


class MessageRecord(_Record):
    """A message."""

    content: JsonObject
    created: float | None = None
    model: str | None = None
    endpoint: str | None = None
    usage: UsageRecord | None = None
    finish_reason: str | None = None
    metadata: JsonObject | None = None
    sender_id: str | None = None
    files: list[JsonObject] = []
    cleared: dict[str, str] = {}
    given: JsonObject | None = None

    @classmethod
    def of(cls, message: Message) -> Self:
        """Write a message down."""
        known: dict[str, Any] = {
            each.name: getattr(message, each.name) for each in dataclasses.fields(message)
        }
        usage = None if message.usage is None else UsageRecord.of(message.usage)
        more = {"usage": usage, "content": dict(message.content)}
        return cls(**known | more | {"files": list(message.files), "cleared": dict(message.cleared)})

    def message(self) -> Message:
        """Make the message again."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        usage = None if self.usage is None else self.usage.usage()
        content: Any = self.content
        return Message(**values | {"usage": usage, "content": keep(content)})


class PendingRecord(_Record):
    """A call that waits."""

    call_id: str
    name: str
    args: JsonObject
    kind: Literal["approval", "deferred", "unknown_effect"]
    why: str
    path: list[str]
    call_ids: list[str] = []


class DeferredRecord(_Record):
    """What a call waits for."""

    args: JsonObject | None
    why: str
    state: JsonObject | None
    pending: list[PendingRecord]

    @model_validator(mode="after")
    def _holds_a_sound_run(self) -> Self:
        if self.state is not None and "agentkitRun" in self.state:  # a sub-agent's
            RunRecord.model_validate(upgraded(self.state))
        return self


class CallRecord(_Record):
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
    def _is_answered_by_its_response(self) -> Self:
        part = (self.response or {}).get("functionResponse") if self.response is not None else None
        if self.response is not None and (
            not isinstance(part, dict)
            or part.get("name") != self.name
            or not isinstance(part.get("response"), dict)
        ):
            raise ValueError(f"the response to {self.name!r} is none")
        return self

    @classmethod
    def of(cls, call: StoredCall) -> Self:
        """Write an entry of the ledger down."""
        values = {each.name: getattr(call, each.name) for each in dataclasses.fields(call)}
        deferred = None if call.deferred is None else DeferredRecord.model_validate(call.deferred)
        return cls(**values | {"deferred": deferred})

    def call(self) -> StoredCall:
        """Make the entry again."""
        values: Any = {name: getattr(self, name) for name in type(self).model_fields}
        deferred = None if self.deferred is None else self.deferred.model_dump(by_alias=True)
        return StoredCall(**values | {"deferred": deferred})


def answers_to(content: Content, calls: Sequence[CallRecord]) -> Content:
    """Make what stands in for the responses to open calls. Raises ValueError if they aren't those of the content."""
    own = calls_of(content)
    if [(index, call["name"]) for index, call in enumerate(own)] != [
        (call.index, call.name) for call in calls
    ]:
        raise ValueError("its open calls are not those of its last turn")
    if len({call.call_id for call in calls}) < len(own):
        raise ValueError("two of its open calls have one id")
    return {"role": "user", "parts": [response_part(call, {}) for call in own]}


class OpenRecord(_Record):
    """Calls that wait: the model's message, and the ledger."""

    message: MessageRecord
    calls: list[CallRecord]


class GivenRecord(_Record):
    """What a run was given, as far as it can be written down."""

    instructions: str | None = None
    tool_choice: str | list[str] | None = None
    model: list[str] | None = None
    limits: JsonObject | None = None
    config: JsonObject | None = None
    again: list[str] = []
    """The options that have to be given again."""


class RunRecord(_Record):
    """A run."""

    agentkit_run: Literal[2] = 2
    run_id: str
    session_id: str | None
    text: str
    said: str = ""
    stop: Stop | None
    why: str
    limit: Stop | None
    finish_reason: str | None
    model: str
    usage: UsageRecord
    turn_usages: list[UsageRecord]
    errors: list[str]
    pending: list[PendingRecord]
    results: dict[str, str]
    messages: list[MessageRecord]
    started_with: Count
    opened: OpenRecord | None
    given: GivenRecord
    metadata: JsonObject | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        contents: list[Any] = [message.content for message in self.messages]
        dumps([contents, self.opened and self.opened.model_dump(), [call.args for call in self.pending]])
        check(contents)
        if self.started_with > len(contents):
            raise ValueError(f"it begins at message {self.started_with} of {len(contents)}")
        if self.opened is not None:
            last: Any = self.opened.message.content
            if contents[-2:-1] != [last]:
                raise ValueError("its open calls are not those of its last turn")
            answers_to(last, self.opened.calls)
        elif self.pending:
            raise ValueError("calls wait that are not open")
        return self


class NotedError(AgentError):
    """An error of which only the kind was written down."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} (its text was not kept)")
        self.kind = kind


def kind_of(error: Exception) -> str:
    """Return the kind of an error, as it is written down."""
    return error.kind if isinstance(error, NotedError) else type(error).__name__


def write_record(record: RunRecord) -> str:
    """Encode a run; a lone surrogate becomes an escape of JSON's."""
    fields = record.model_dump(by_alias=True, exclude_defaults=False)
    if record.metadata is None:
        del fields["metadata"]
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()


def read_record(text: str | bytes) -> RunRecord:
    """Decode a run, of an older format too.

    Raises:
        ConfigurationError: It is no run, or damaged, or of a newer agentkit.
    """
    try:
        wire = json.loads(text, parse_constant=_refuse)
        _check_depth(wire)
        version = wire.get("agentkitRun") if isinstance(wire, dict) else None
        if type(version) is not int:
            raise ConfigurationError("This is no run that Run.to_json() wrote.")
        if version > FORMAT:
            raise ConfigurationError("This run was written by a newer agentkit: it can't be read here.")
        return RunRecord.model_validate(upgraded(wire))
    except ConfigurationError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigurationError(
            f"This is no run that Run.to_json() wrote, or it is damaged: {where}: {first['msg']}."
        ) from error
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"This is no run that Run.to_json() wrote: {error!r:.200}.") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _check_depth(value: Any) -> None:
    """Refuse what is nested so deep that copying it would fail."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def upgraded(wire: JsonObject) -> JsonObject:
    """Bring a run of an older format to today's."""
    return _from_first(dict(wire)) if wire.get("agentkitRun") == 1 else wire


def _from_first(wire: JsonObject) -> JsonObject:
    """Bring a run of format 1 to today's."""
    messages = [
        {"content": content, "model": model}
        for content, model in zip(wire.pop("contents"), wire.pop("models"), strict=True)
    ]
    opened = wire.pop("opened")
    if opened is not None:
        calls = [{to_camel(key): value for key, value in call.items()} for call in opened["calls"]]
        opened = {"message": messages[-2], "calls": calls}
    usages = [_usage_in(usage) for usage in wire.pop("turnUsages")]
    more = {"usage": _usage_in(wire["usage"]), "turnUsages": usages, "opened": opened, "messages": messages}
    return {
        **wire,
        **more,
        "agentkitRun": FORMAT,
        "why": f"It stopped: {wire['stop']}." if wire["stop"] else "",
        "given": {},
    }


def _usage_in(raw: str) -> JsonObject:
    usage = {to_camel(key): value for key, value in json.loads(raw).items()}
    usage["byModel"] = [{to_camel(k): v for k, v in row.items()} for row in usage.get("byModel", ())]
    return usage
