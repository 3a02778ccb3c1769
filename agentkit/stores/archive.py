"""A chat as one file: versioned JSON to keep and to read back, Markdown to read."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from reprlib import repr as short
from typing import Any, cast

from agentkit.errors import StoreError, StoreVersionError
from agentkit.limits import Usage, read_by_model
from agentkit.stores._values import check_results
from agentkit.stores.base import SessionInfo, StoredMessage, StoredResult
from agentkit.wire.content import Content, JsonObject, calls_of, keep
from agentkit.wire.history import check

FORMAT, VERSION = "agentkit.chat", 2
"""Version 2 has results. A chat without them is written as version 1, which any agentkit reads."""
MAX_DEPTH = 200
"""How deep values may be nested: what can be read here can be read wherever a store reads it later."""
_END_OF_TIME = 253_402_300_800  # the year 10000, which datetime doesn't know
_USAGE_TYPES: dict[str, type] = {field.name: type(field.default) for field in fields(Usage)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What an archive has in it."""

    info: SessionInfo
    messages: Sequence[StoredMessage]
    results: Sequence[StoredResult]


def to_archive(
    info: SessionInfo, messages: Sequence[StoredMessage], results: Sequence[StoredResult] = ()
) -> JsonObject:
    """Make the JSON of a session, with those of the results that belong to its messages.

    Raises:
        StoreError: The session couldn't be read back: tools are running, or were when it broke off, or there
            is something in it that no history has.
    """
    if messages and calls_of(messages[-1].content):
        raise StoreError(
            f"The chat {info.id!r} broke off while tools ran, so it can't be saved yet: finish it with resume() first."
        )
    kept = [asdict(result) for result in results if result.seq < len(messages)]
    archive: JsonObject = {
        "format": FORMAT,
        "version": VERSION if kept else 1,
        "id": info.id,
        "title": info.title,
        "model": info.model,
        "instructions": info.instructions,
        "created": info.created,
        "messages": [
            {
                "content": message.content,
                "created": message.created,
                "usage": asdict(message.usage) if message.usage else None,
                "finish_reason": message.finish_reason,
            }
            for message in messages
        ],
    }
    if kept:
        archive["results"] = kept
    from_archive(archive, f"The chat {info.id!r}")
    return archive


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
        return _session(_copy(archive))
    except KeyError as error:
        raise StoreError(f"{where} is damaged: there is no {error} where one belongs.") from error
    except ValueError as error:  # a HistoryError is one
        raise StoreError(f"{where} is damaged: {error}") from error
    except RecursionError as error:
        raise _too_deep(where) from error


def _too_deep(where: str) -> StoreError:
    return StoreError(f"{where} is damaged: it is nested more than {MAX_DEPTH} deep.")


def _session(archive: JsonObject) -> Archived:
    rows = _rows("messages", archive["messages"])
    # An archive holds the wire's own JSON: nothing is converted, so parts that agentkit doesn't know stay as
    # they are.
    contents: list[Content] = [row["content"] for row in rows]
    check(contents)
    messages = [
        StoredMessage(
            seq=seq,
            content=_content(seq, row["content"]),
            created=_time(f"messages[{seq}].created", row["created"]),
            usage=_usage(f"messages[{seq}].usage", row.get("usage")),
            finish_reason=_text(f"messages[{seq}].finish_reason", row.get("finish_reason")),
        )
        for seq, row in enumerate(rows)
    ]
    id_, created = _text("id", archive["id"]), _time("created", archive["created"])
    if id_ is None:
        raise ValueError("id is null, not a text")
    info = SessionInfo(
        id=id_,
        created=created,
        updated=created,
        messages=len(messages),
        usage=sum((message.usage for message in messages if message.usage), Usage()),
        title=_text("title", archive.get("title")),
        model=_text("model", archive.get("model")),
        instructions=_text("instructions", archive.get("instructions")),
    )
    return Archived(info=info, messages=messages, results=_results(archive, len(messages)))


def _results(archive: JsonObject, messages: int) -> list[StoredResult]:
    results = []
    for number, row in enumerate(_rows("results", archive.get("results", []))):
        what = f"results[{number}]"
        id_, text = _text(f"{what}.id", row["id"]), _text(f"{what}.text", row["text"])
        if id_ is None or text is None:
            raise ValueError(f"{what} has a null where a text belongs")
        results.append(StoredResult(id=id_, seq=row["seq"], text=text))
    try:
        check_results(results, messages)
    except StoreError as error:
        raise ValueError(str(error)) from error
    return results


def _rows(what: str, rows: Any) -> list[JsonObject]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"its {what} are no list of objects")
    return rows


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


def _content(seq: int, content: Any) -> Content:
    for part in content["parts"]:
        if not isinstance(part.get("text", ""), str):
            raise ValueError(f"messages[{seq}] has a part whose text is {short(part['text'])}, not a text")
    return keep(cast(Content, content))


def _time(what: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _END_OF_TIME:
        raise ValueError(f"{what} is {short(value)}, not seconds since 1970 (up to the year 9999)")
    return float(value)


def _usage(what: str, value: Any) -> Usage | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {short(value)}, not an object")
    by_model = read_by_model(value.pop("by_model", ()))
    for name, count in value.items():
        if name not in _USAGE_TYPES:
            raise ValueError(f"{what} has {name!r} in it, which is no count of agentkit's")
        kind = _USAGE_TYPES[name]
        fits = type(count) is kind
        if not fits or not 0 <= count < 2**63:
            kind_name = "true or false" if kind is bool else "a count"
            raise ValueError(f"{what}.{name} is {short(count)}, not {kind_name}")
    return Usage(**value, by_model=by_model)


def _text(what: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{what} is {short(value)}, not a text")
    return value


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


def to_markdown(info: SessionInfo, messages: Sequence[StoredMessage]) -> str:
    """Make a text of a session for people to read: calls and results as code, media by their type."""
    lines = [f"# {info.title or info.id}", ""]
    for message in messages:
        speaker = "User" if message.content["role"] == "user" else "Model"
        if any("functionResponse" in part for part in message.content["parts"]):
            speaker = "Tools"
        lines += [f"## {speaker}, {_when(message.created)}", ""]
        for part in message.content["parts"]:
            lines += [_markdown(part), ""]
    return "\n".join(lines)


def _when(created: float) -> str:
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
    blob = part.get("inlineData") or part.get("fileData")
    kind = blob.get("mimeType") if isinstance(blob, dict) else None
    return f"*({kind or ', '.join(part)})*"


def _code(text: str) -> str:
    fence = "`" * max(3, max((len(run) for run in _runs(text)), default=0) + 1)
    return f"{fence}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    """List the runs of backticks in a text: a fence around it is longer than each."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
