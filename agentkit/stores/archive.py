"""A chat as one file: versioned JSON to keep and to read back, Markdown to read."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any

from pydantic import Field

from agentkit.errors import StoreError, StoreVersionError
from agentkit.limits import total_of
from agentkit.stores._values import check_results
from agentkit.stores.base import Message, SessionInfo, StoredCall, StoredResult
from agentkit.stores.records import (
    MAX_DEPTH,
    CallRecord,
    Damaged,
    Id,
    MessageRecord,
    Record,
    as_text,
    parse,
    plain,
    read,
    sound,
)
from agentkit.wire.content import JsonObject, calls_of, text_of
from agentkit.wire.footnotes import first_free, footnotes, marked
from agentkit.wire.sources import sources_of

FORMAT, VERSION = "agentkit.chat", 5
"""Version 2 brought results; version 3 what is known about a message, and the state; version 4 calls that wait;
version 5 has messages as a run's JSON has them. Earlier ones are read."""
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


_Time = Annotated[float, Field(ge=0, lt=_END_OF_TIME)]


class _Message(MessageRecord):
    created: _Time | None


class _Result(Record):
    id: str
    seq: int
    text: str


class _Archive(Record):
    format: str
    version: int
    id: Id
    created: _Time
    messages: list[_Message]
    title: str | None = None
    model: str | None = None
    instructions: str | None = None
    results: list[_Result] = Field(default_factory=list)
    state: JsonObject = Field(default_factory=dict)
    calls: list[CallRecord] = Field(default_factory=list)


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
    return written(f"The chat {info.id!r}", info, messages, results, state, opened)


def written(
    where: str,
    info: SessionInfo,
    messages: Sequence[Message],
    results: Sequence[StoredResult] = (),
    state: JsonObject | None = None,
    calls: Sequence[StoredCall] = (),
) -> JsonObject:
    """Make the JSON of a session, which is read back. Raises StoreError if that can't be; it begins with `where`."""
    try:
        archive: JsonObject = {
            "format": FORMAT,
            "version": VERSION,
            "id": info.id,
            "title": info.title,
            "model": info.model,
            "instructions": info.instructions,
            "created": info.created,
            "messages": [_Message.of(message).wire() for message in messages],
        }
        more: JsonObject = {
            "results": [asdict(result) for result in results if result.seq < len(messages)],
            "state": state,
            "calls": [CallRecord.of(call).wire() for call in calls],
        }
    except Damaged as error:
        raise StoreError(f"{where} is damaged: {error}.") from error
    archive |= {name: value for name, value in more.items() if value}
    from_archive(archive, where)
    return archive


def archive_text(archive: JsonObject) -> str:
    """Write the JSON of a session as a text."""
    return as_text(archive, indent=1)


def parse_archive(text: str | bytes, where: str) -> Archived:
    """Read the JSON of a session from a text; see `from_archive`.

    Raises:
        StoreError: As `from_archive` does, and where it isn't JSON.
    """
    try:
        archive = parse(text)
    except Damaged as error:
        raise StoreError(f"{where} is damaged, or isn't a chat: {error}.") from error
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
            f"{where} is a list, not a chat that agentkit saved. If it is a list of contents, begin a chat with it:"
            " agent.chat(history=json.loads(path.read_text()))."
        )
    if not isinstance(archive, Mapping) or archive.get("format") != FORMAT:
        raise StoreError(f"{where} is not a chat that agentkit saved (no format {FORMAT!r} in it).")
    version = archive.get("version")
    if type(version) is not int or version < 1:
        raise StoreError(
            f"{where} is damaged: its version is {short(version)}, not a whole number of 1 or more."
        )
    if version > VERSION:
        raise StoreVersionError(
            f"{where} has version {version}; this agentkit reads up to {VERSION}. Upgrade agentkit."
        )
    try:
        return _session(read(_Archive, plain(archive)))
    except (ValueError, StoreError) as error:  # a HistoryError is one
        raise StoreError(f"{where} is damaged: {error}") from error
    except RecursionError as error:
        raise StoreError(f"{where} is damaged: it is nested more than {MAX_DEPTH} deep.") from error


def _session(archive: _Archive) -> Archived:
    # An archive holds the wire's own JSON: nothing is converted, so parts that agentkit doesn't know stay as they are.
    said = archive.messages
    sound(said, archive.calls)
    if nulls := [seq for seq, each in enumerate(said) if _has_null_text(each)]:
        raise ValueError(f"messages[{nulls[0]}] has a part whose text is None, not a text")
    senders = [each.sender_id for each in said if each.sender_id is not None]
    if len({*senders}) < len(senders):
        raise ValueError("two of its messages have the same sender's id")
    messages = [message.message() for message in said]
    results = [StoredResult(**result.__dict__) for result in archive.results]
    check_results(results, len(messages))
    info = SessionInfo(
        id=archive.id,
        created=archive.created,
        updated=archive.created,
        messages=len(messages),
        usage=total_of(message.usage for message in messages if message.usage),
        title=archive.title,
        model=archive.model,
        instructions=archive.instructions,
    )
    calls = [call.call() for call in archive.calls]
    return Archived(info=info, messages=messages, results=results, state=archive.state, calls=calls)


def _has_null_text(message: _Message) -> bool:
    return any(part.get("text", "") is None for part in message.content["parts"])


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
        raise StoreError(
            f"Can't write {path}: {error.strerror}. The file that was there is unchanged."
        ) from error


def _mode(path: Path) -> int | None:
    """Return the permissions of a file, or None if there is none. Raises OSError if it isn't a regular file."""
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
    notes = first_free(text_of(message.content) for message in messages)
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
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}"
