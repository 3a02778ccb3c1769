"""A chat as one file: versioned JSON to keep and to read back, Markdown to read."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from agentkit.errors import StoreError, StoreVersionError
from agentkit.limits import Usage, read_by_model, write_by_model
from agentkit.stores._values import check_results, sum_usage
from agentkit.stores.base import Message, SessionInfo, StoredCall, StoredResult
from agentkit.stores.run_record import CallRecord, answers_to
from agentkit.wire.content import Content, JsonObject, calls_of, keep, text_of
from agentkit.wire.history import check
from agentkit.wire.sources import footnotes, marked, sources_of

FORMAT, VERSION = "agentkit.chat", 4
"""Version 2 brought results; version 3 what is known about a message, and the state; version 4 calls that wait. Earlier
ones are read."""
MAX_DEPTH = 200
"""How deep values may be nested: what can be read here can be read wherever a store reads it later."""
_END_OF_TIME = 253_402_300_800  # the year 10000, which datetime doesn't know


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What an archive has in it."""

    info: SessionInfo
    messages: Sequence[Message]
    results: Sequence[StoredResult] = ()
    state: JsonObject = field(default_factory=dict)
    calls: Sequence[StoredCall] = ()
    """The ledger, if the last message has calls that wait."""


# -- the form


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


_Time = Annotated[float, Field(ge=0, lt=_END_OF_TIME)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _ByModel(_Strict):
    model_config = ConfigDict(strict=True, extra="forbid")
    by_model: Any = ()

    @field_validator("by_model", mode="plain")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return read_by_model(value)


_counts: dict[str, Any] = {
    count.name: (bool if count.type == "bool" else _Count, count.default)
    for count in fields(Usage)
    if count.name != "by_model"
}
_Usage = create_model("_Usage", __base__=_ByModel, **_counts)


class _Message(_Strict):
    content: dict[str, Any]
    created: _Time | None
    usage: _Usage | None = None  # type: ignore[valid-type]
    finish_reason: str | None = None
    model: str | None = None
    endpoint: str | None = None
    metadata: dict[str, Any] | None = None
    sender_id: str | None = None
    files: list[dict[str, Any]] = []
    cleared: dict[str, str] = {}
    given: dict[str, Any] | None = None


class _Result(_Strict):
    id: str
    seq: int
    text: str


class _Archive(_Strict):
    id: str
    created: _Time
    messages: list[_Message]
    title: str | None = None
    model: str | None = None
    instructions: str | None = None
    results: list[_Result] = []
    state: dict[str, Any] = {}
    calls: list[CallRecord] = []


def to_archive(
    info: SessionInfo,
    messages: Sequence[Message],
    results: Sequence[StoredResult] = (),
    state: JsonObject | None = None,
    calls: Sequence[StoredCall] = (),
) -> JsonObject:
    """Make the JSON of a session, with those of the results that belong to its messages.

    Raises:
        StoreError: The session couldn't be read back: tools are running, or were when it broke off, or there
            is something in it that no history has.
    """
    opened = calls if messages and calls_of(messages[-1].content) else ()
    running = any(call.started and call.response is None for call in opened)
    if messages and calls_of(messages[-1].content) and (running or not opened):
        raise StoreError(
            f"The chat {info.id!r} broke off while tools ran, so it can't be saved yet: finish it with resume() first."
        )
    archive: JsonObject = {
        "format": FORMAT,
        "version": VERSION,
        "id": info.id,
        "title": info.title,
        "model": info.model,
        "instructions": info.instructions,
        "created": info.created,
        "messages": [_message_json(message) for message in messages],
    }
    if kept := [asdict(result) for result in results if result.seq < len(messages)]:
        archive["results"] = kept
    if state:
        archive["state"] = state
    if opened:
        records = map(CallRecord.of, opened)
        archive["calls"] = [record.model_dump(by_alias=True, exclude_defaults=True) for record in records]
    from_archive(archive, f"The chat {info.id!r}")
    return archive


def _message_json(message: Message) -> JsonObject:
    usage = message.usage
    known = {
        "usage": {**asdict(usage), "by_model": write_by_model(usage)} if usage else None,
        "finish_reason": message.finish_reason,
        "model": message.model,
        "endpoint": message.endpoint,
        "metadata": message.metadata,
        "sender_id": message.sender_id,
        "files": [*message.files],
        "cleared": {**message.cleared},
        "given": message.given,
    }
    said = {"content": message.content, "created": message.created}
    return said | {name: value for name, value in known.items() if value}


def archive_text(archive: JsonObject) -> str:
    """Write the JSON of a session as a text that can be encoded: a lone surrogate is an escape of JSON's."""
    text = json.dumps(archive, ensure_ascii=False, indent=1)
    return text.encode("utf-8", "backslashreplace").decode()


def parse_archive(text: str | bytes, where: str) -> Archived:
    """Read the JSON of a session from a text; see `from_archive`.

    Raises:
        StoreError: As `from_archive` does, and where it isn't JSON.
    """
    try:
        archive = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{where} is damaged or no chat at all: it isn't JSON ({error}).") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    return from_archive(archive, where)


def from_archive(archive: Any, where: str) -> Archived:
    """Read the JSON of a session: a copy of it, whose history is checked.

    Args:
        archive: What `to_archive` made, or None, or anything else that was found instead.
        where: What it was found in, for errors.

    Raises:
        StoreVersionError: A newer agentkit wrote it.
        StoreError: It isn't a chat, or it is damaged.
    """
    if isinstance(archive, list) and archive and all(isinstance(each, dict) for each in archive):
        raise StoreError(
            f"{where} is a list, and no chat that agentkit saved. If it is a list of contents, begin a chat with it:"
            " agent.chat(history=json.loads(path.read_text()))."
        )
    if not isinstance(archive, Mapping) or archive.get("format") != FORMAT:
        raise StoreError(f"{where} is not a chat that agentkit saved (no format {FORMAT!r} in it).")
    version = archive.get("version")
    if type(version) is not int or version < 1:
        raise StoreError(
            f"{where} is damaged: its version is {short(version)}, not a whole number from 1 on."
        )
    if version > VERSION:
        raise StoreVersionError(
            f"{where} has version {version}; this agentkit reads up to {VERSION}. Upgrade agentkit."
        )
    try:
        return _session(_Archive.model_validate(_copy(archive)))
    except ValidationError as error:
        raise StoreError(f"{where} is damaged: {_first(error)}.") from None
    except ValueError as error:  # a HistoryError is one
        raise StoreError(f"{where} is damaged: {error}") from error
    except RecursionError as error:
        raise _too_deep(where) from error


def _too_deep(where: str) -> StoreError:
    return StoreError(f"{where} is damaged: it is nested more than {MAX_DEPTH} deep.")


def _first(error: ValidationError) -> str:
    """Say what is wrong at the first place where something is, and name the place."""
    wrong = error.errors(include_url=False)[0]
    place = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in wrong["loc"]
    ).removeprefix(".")
    said = re.sub(r"^Value error, | or instance of \w+", "", wrong["msg"])
    found = "" if wrong["type"] == "missing" else f", not {short(wrong['input'])}"
    return f"{place}: {said}{found}"


def _session(archive: _Archive) -> Archived:
    # An archive holds the wire's own JSON: nothing is converted, so parts that agentkit doesn't know stay as they are.
    contents = [cast(Content, message.content) for message in archive.messages]
    check([*contents, answers_to(contents[-1], archive.calls)] if archive.calls else contents)
    messages = [_message(seq, message) for seq, message in enumerate(archive.messages)]
    results = [StoredResult(id=result.id, seq=result.seq, text=result.text) for result in archive.results]
    try:
        check_results(results, len(messages))
    except StoreError as error:
        raise ValueError(str(error)) from error
    info = SessionInfo(
        id=archive.id,
        created=archive.created,
        updated=archive.created,
        messages=len(messages),
        usage=sum_usage(message.usage for message in messages),
        title=archive.title,
        model=archive.model,
        instructions=archive.instructions,
    )
    calls = [call.call() for call in archive.calls]
    return Archived(info=info, messages=messages, results=results, state=archive.state, calls=calls)


def _message(seq: int, message: _Message) -> Message:
    parts: Any = message.content["parts"]
    for part in parts:
        if not isinstance(part.get("text", ""), str):
            raise ValueError(f"messages[{seq}] has a part whose text is {short(part['text'])}, not a text")
    known = {name: getattr(message, name) for name in _Message.model_fields}
    usage: Any = message.usage
    if usage is not None:
        usage = Usage(**dict(usage))
    return Message(**{**known, "content": keep(cast(Content, message.content)), "usage": usage})


def _copy(value: Any, depth: int = 0) -> Any:
    """Copy a value of JSON. Raises ValueError if it is none, or nested too deep."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"{odd[0]!r} is no key of JSON")
        return {key: _copy(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item, depth + 1) for item in value]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{short(value)} is no value of JSON")


def write_archive(path: Path, archive: JsonObject) -> None:
    """Write a file, all of it or nothing: what was there before stays until the new one is whole.

    A file that is there keeps its permissions; a link stays a link, and what it leads to is written.

    Raises:
        StoreError: It can't be written.
    """
    data = archive_text(archive).encode()
    target = Path(os.path.realpath(path))
    try:
        mode = _mode(target)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            # The permissions are there before anything is in the file; the umask applies to a new one only.
            first = 0o666 if mode is None else mode
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, first)) as file:
                if mode is not None:
                    part.chmod(mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"Can't write {path}: {error.strerror}. What was there is as it was.") from error


def _mode(path: Path) -> int | None:
    """Return the permissions of a file, or None if there is none. Raises OSError if it is no plain file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # a folder, or a device, which must not be replaced by a file
        raise OSError(0, "It is not a file")
    return stat.S_IMODE(status.st_mode)


def read_archive(path: Path) -> Archived:
    """Read a file that `write_archive` wrote.

    Raises:
        StoreError: It can't be read, isn't a chat, or is damaged; `StoreVersionError` if it is newer.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StoreError(f"Can't read {path}: {error.strerror}.") from error
    return parse_archive(text, str(path))


def to_markdown(info: SessionInfo, messages: Sequence[Message]) -> str:
    """Make a text of a session for people: calls and code as blocks, media by their type, sources as footnotes."""
    lines = [f"# {info.title or info.id}", ""]
    notes = 1
    for message in messages:
        speaker = "User" if message.content["role"] == "user" else "Model"
        if any("functionResponse" in part for part in message.content["parts"]):
            speaker = "Tools"
        lines += [f"## {speaker}, {_when(message.created)}", ""]
        sources = sources_of([(message.content, message.metadata)], text_of(message.content))
        at = 0
        for part in message.content["parts"]:
            written = _markdown(part)
            if "text" in part and not part.get("thought"):
                written = marked(written, sources, at=at, first=notes)
                at += len(part["text"])
            lines += [written, ""] if written else []
        if sources:
            cited = [notes + index for index, source in enumerate(sources) if not source.spans]
            lines += [*(f"[^{number}]" for number in cited), *([""] if cited else [])]
            lines += [footnotes(sources, first=notes), ""]
            notes += len(sources)
    return "\n".join(lines)


def _when(created: float | None) -> str:
    if created is None:
        return "at an unknown time"
    try:
        return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OSError, OverflowError, ValueError):  # a clock that was wrong: the text is worth reading still
        return f"at an unknown time ({created})"


def _markdown(part: Any) -> str:
    if "text" in part:
        text = str(part["text"])
        return "\n".join(f"> {line}" for line in text.splitlines()) if part.get("thought") else text
    if "functionCall" in part:
        call = part["functionCall"]
        return _code(f"{call['name']}({json.dumps(call.get('args') or {}, ensure_ascii=False)})")
    if "functionResponse" in part:
        response = part["functionResponse"]
        return _code(f"{response['name']} -> {json.dumps(response['response'], ensure_ascii=False)}")
    if isinstance(code := part.get("executableCode"), dict):
        return _code(str(code.get("code", "")), re.sub(r"\W", "", str(code.get("language", "")).lower()))
    if isinstance(result := part.get("codeExecutionResult"), dict):
        ended = str(result.get("outcome") or "OUTCOME_OK")
        return "\n\n".join(
            [
                _code(str(result.get("output") or "").rstrip("\n")),
                *([] if ended == "OUTCOME_OK" else [f"*({ended})*"]),
            ]
        )
    if isinstance(call := part.get("toolCall"), dict):
        name = str(call.get("toolType") or "").lower()
        return _code(f"{name}({json.dumps(call.get('args') or {}, ensure_ascii=False)})")
    if "toolResponse" in part:  # what came of it is in the text and its sources
        return ""
    blob = part.get("inlineData") or part.get("fileData")
    kind = blob.get("mimeType") if isinstance(blob, dict) else None
    return f"*({kind or ', '.join(part)})*"


def _code(text: str, language: str = "") -> str:
    fence = "`" * max(3, max((len(run) for run in _runs(text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    """List the runs of backticks in a text: a fence around it is longer than each."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
