"""A chat as one file: versioned JSON to keep and to read back, Markdown to read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentkit.errors import HistoryError, StoreError, StoreVersionError
from agentkit.limits import Usage
from agentkit.stores.base import SessionInfo, StoredMessage
from agentkit.wire.content import Content, JsonObject
from agentkit.wire.convert import history_in

FORMAT, VERSION = "agentkit.chat", 1


def to_archive(info: SessionInfo, messages: Sequence[StoredMessage]) -> JsonObject:
    """Make the JSON of a session."""
    return {
        "format": FORMAT,
        "version": VERSION,
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


def from_archive(archive: Any, where: str) -> tuple[SessionInfo, list[StoredMessage]]:
    """Read the JSON of a session; its history is checked.

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
    if not isinstance(version, int) or version > VERSION:
        raise StoreVersionError(
            f"{where} has version {version!r}; this agentkit reads up to {VERSION}. Upgrade agentkit."
        )
    try:
        rows = list(archive["messages"])
        contents = history_in([row["content"] for row in rows])
        messages = [
            _message(seq, row, content) for seq, (row, content) in enumerate(zip(rows, contents, strict=True))
        ]
        info = SessionInfo(
            id=str(archive["id"]),
            created=float(archive["created"]),
            updated=float(archive["created"]),
            messages=len(messages),
            usage=sum((message.usage for message in messages if message.usage), Usage()),
            title=_text(archive.get("title")),
            model=_text(archive.get("model")),
            instructions=_text(archive.get("instructions")),
        )
    except HistoryError as error:
        raise StoreError(f"{where} is damaged: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{where} is damaged: {type(error).__name__}: {error}") from error
    return info, messages


def _message(seq: int, row: Any, content: Content) -> StoredMessage:
    usage = row.get("usage")
    return StoredMessage(
        seq=seq,
        content=content,
        created=float(row["created"]),
        usage=Usage(**usage) if usage else None,
        finish_reason=_text(row.get("finish_reason")),
    )


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def write_archive(path: Path, archive: JsonObject) -> None:
    """Write a file, all of it or nothing: what was there before stays until the new one is whole.

    Raises:
        StoreError: It can't be written.
    """
    text = json.dumps(archive, ensure_ascii=False, indent=1)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)  # noqa: PTH105 - both names are as they came
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"Can't write {path}: {error.strerror}. What was there is as it was.") from error


def read_archive(path: Path) -> tuple[SessionInfo, list[StoredMessage]]:
    """Read a file that `write_archive` wrote.

    Raises:
        StoreError: It can't be read, isn't a chat, or is damaged; `StoreVersionError` if it is newer.
    """
    try:
        archive = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"Can't read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged or no chat at all: it isn't JSON ({error}).") from error
    return from_archive(archive, str(path))


def to_markdown(info: SessionInfo, messages: Sequence[StoredMessage]) -> str:
    """Make a text of a session for people to read: calls and results as code, media by their type."""
    lines = [f"# {info.title or info.id}", ""]
    for message in messages:
        when = datetime.fromtimestamp(message.created, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        speaker = "User" if message.content["role"] == "user" else "Model"
        if any("functionResponse" in part for part in message.content["parts"]):
            speaker = "Tools"
        lines += [f"## {speaker}, {when}", ""]
        for part in message.content["parts"]:
            lines += [_markdown(part), ""]
    return "\n".join(lines)


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
    blob = part.get("inlineData") or part.get("fileData") or {}
    return f"*({blob.get('mimeType') or ', '.join(part)})*"


def _code(text: str) -> str:
    fence = "`" * max(3, max((len(run) for run in _runs(text)), default=0) + 1)
    return f"{fence}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    """List the runs of backticks in a text: a fence around it is longer than each."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
