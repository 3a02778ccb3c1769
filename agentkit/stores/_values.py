"""What stores share: which ids there are, and how values become JSON and come back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import cast

from agentkit.errors import (
    ConfigurationError,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
)
from agentkit.limits import KINDS, ModelUsage, Usage, read_by_model, read_counts
from agentkit.stores.base import SaveResult, Step, StoredResult
from agentkit.stores.records import MAX_DEPTH, Damaged, NotesRecord, parse, plain, read
from agentkit.wire.content import Content, JsonObject, content_json, dumps, keep, text_of

MAX_ID = 200
MAX_ROW_DEPTH = MAX_DEPTH - 5
"""How deep JSON in a row may be nested: a run's JSON and an archive have it some levels down."""
MAX_RESULT = 100_000_000
"""Characters of a result: with up to six bytes for each (see `exact`), what every database can hold."""
_USAGE_FIELDS = tuple(field.name for field in fields(Usage))
_COUNTS = {name: bool if name == "estimated" else int for name in _USAGE_FIELDS if name != "by_model"}
_MODEL_FIELDS = tuple(field.name for field in fields(ModelUsage))
_LEFT_OUT = frozenset({"tier", *KINDS})
"""Of these, what is empty or zero."""


def check_id(id: object) -> None:
    """Raise ConfigurationError unless a session may have this id: any text of 1 to 200 characters."""
    if not isinstance(id, str):
        raise ConfigurationError(f"A session's id is a str, not {type(id).__name__}.")
    if not 1 <= len(id) <= MAX_ID:
        raise ConfigurationError(f"A session's id has 1 to {MAX_ID} characters, not {len(id)}.")


def check_short(what: str, id: object) -> None:
    """Raise StoreError unless a text may be the id of something."""
    if not isinstance(id, str) or not 1 <= len(id) <= MAX_ID:
        raise StoreError(
            f"{what} has 1 to {MAX_ID} characters, not {len(id) if isinstance(id, str) else repr(id)}."
        )


def check_result(result: SaveResult | StoredResult, what: str = "A result") -> None:
    """Raise StoreError unless every store can hold a result."""
    check_short(f"{what}: its id", result.id)
    if len(result.text) > MAX_RESULT:
        raise StoreError(f"{what}: its text has {len(result.text)} characters, more than {MAX_RESULT}.")


def check_results(results: Sequence[StoredResult], messages: int) -> None:
    """Raise StoreError unless results have ids of their own, and each belongs to one of so many messages."""
    seen: set[str] = set()
    for number, result in enumerate(results):
        what = f"results[{number}]"
        check_result(result, what)
        if result.id in seen:
            raise StoreError(f"{what}: its id {result.id!r} is that of one before it.")
        seen.add(result.id)
        if type(result.seq) is not int or not 0 <= result.seq < messages:
            raise StoreError(
                f"{what}: it belongs to message {result.seq!r}; there are {messages}, numbered from 0."
            )


def check_start(start: int) -> None:
    """Raise ConfigurationError unless messages can be read from this number on."""
    if start < 0:
        raise ConfigurationError(
            f"start={start}: messages are numbered from 0; to read the last n, give info.messages - n."
        )


def first_version() -> int:
    """Make the version that a new session begins with: not one that a deleted session of its id had."""
    return time.time_ns()


def no_session(id: str) -> SessionNotFound:
    """Make the error that there is no such session."""
    return SessionNotFound(f"There is no session {id!r}.")


def session_exists(id: str) -> SessionExists:
    """Make the error that there is such a session."""
    return SessionExists(f"There is a session {id!r} already.")


def session_busy(id: str, who: str) -> SessionConflict:
    """Make the error that somebody else is writing: `who` is "another process", say."""
    return SessionConflict(
        f"Session {id!r} is being written by {who}. Give `wait=` seconds to wait for it, or try again later."
    )


def session_lost(id: str) -> SessionConflict:
    """Make the error that a writer has its session no longer."""
    return SessionConflict(
        f"Session {id!r} no longer belongs to this writer: it was released, deleted, or taken by another. "
        "What was stored before is intact; nothing of this step was stored."
    )


def uncounted(id: str, count: int) -> StoreError:
    """Make the error that a session hasn't the messages that it counts."""
    return StoreError(
        f"Session {id!r} is damaged: it counts {count} messages, and has others. Nothing was stored; take what is "
        "damaged back with undo() or clear()."
    )


def no_open_call(index: int) -> StoreError:
    """Make the error that a step names a call which isn't open."""
    return StoreError(f"The last message has no open call {index}: nothing was stored.")


def check_position(step: Step, seq: int, count: int) -> None:
    """Raise StoreError unless a step's number is that of a message, or one more than the last."""
    if not 0 <= seq <= count:
        raise StoreError(
            f"{type(step).__name__}: {seq} doesn't fit a session of {count} messages; nothing was stored."
        )


def encode_content(content: Content) -> tuple[str, str, str]:
    """Encode a content: its role, its JSON, and the text that people read (no thoughts, calls or responses).

    Raises:
        StoreError: It isn't one, or can't be JSON.
    """
    try:
        text = content_json(content).decode()
        if text.count("{") + text.count("[") > MAX_ROW_DEPTH:  # else it isn't so deep
            plain(content, MAX_DEPTH - MAX_ROW_DEPTH)
        return content["role"], text, text_of(content)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"This content can't be stored, for it isn't a JSON object with a role and parts: {error}"
        ) from error


def decode_content(raw: str | bytes) -> Content:
    """Decode a content, which nobody else has. Raises Damaged."""
    return keep(cast(Content, decode_object(raw)))


def encode_object(what: str, value: object) -> str:
    """Encode an object. Raises StoreError, which calls it `what`, if it can't be JSON."""
    try:
        if not isinstance(value, dict):
            raise TypeError(f"it is a {type(value).__name__}, not an object")
        text = dumps(cast(JsonObject, value)).decode()
        if text.count("{") + text.count("[") > MAX_ROW_DEPTH:
            plain(value, MAX_DEPTH - MAX_ROW_DEPTH)
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{what} can't be stored unless it is JSON: {error}") from error


def readable_text(raw: str | bytes) -> str:
    """Return the text that people read of an encoded content; nothing of one that is damaged."""
    try:
        return text_of(decode_content(raw))
    except (TypeError, ValueError, LookupError, AttributeError):
        return ""


def decode_object(raw: str | bytes) -> JsonObject:
    """Decode an object. Raises Damaged."""
    text = raw if isinstance(raw, str) else raw.decode()
    value = parse(text)
    if len(text) > MAX_ROW_DEPTH and text.count("{") + text.count("[") > MAX_ROW_DEPTH:
        plain(value, MAX_DEPTH - MAX_ROW_DEPTH)
    if not isinstance(value, dict):
        raise Damaged("it isn't a JSON object")
    return value


def decode_notes(files: str | None, cleared: str | None) -> tuple[Sequence[JsonObject], dict[str, str]]:
    """Decode what is noted of a message's parts: its files, and what is cleared. Raises Damaged."""
    if files is None and cleared is None:
        return (), {}
    noted = {} if files is None else decode_object(files)
    if cleared is not None:
        noted["cleared"] = decode_object(cleared)
    notes = read(NotesRecord, noted).notes()
    return notes["files"], notes["cleared"]


def encode_usage(usage: Usage | None) -> str | None:
    """Encode a usage, what is zero left out; None stays None. Raises StoreError if it couldn't be decoded."""
    if usage is None:
        return None
    try:
        counts = {name: count for name in _USAGE_FIELDS if (count := getattr(usage, name))}
        if by_model := counts.get("by_model"):
            counts["by_model"] = [
                {
                    name: value
                    for name in _MODEL_FIELDS
                    if (value := getattr(used, name)) or name not in _LEFT_OUT
                }
                for used in by_model
            ]
        _make_usage(counts)
        return dumps(counts).decode()
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"This usage can't be stored, for its counts must be whole numbers: {error}"
        ) from error


def decode_usage(raw: str | bytes | None) -> Usage | None:
    """Decode a usage; counts that this agentkit doesn't know are left out. Raises Damaged."""
    if raw is None:
        return None
    return _make_usage(decode_object(raw))


def _make_usage(counts: JsonObject) -> Usage:
    """Make a usage of what is stored of it: by hand, for a session's is read in each transaction. Raises Damaged."""
    try:
        return Usage(**read_counts(counts, _COUNTS), by_model=read_by_model(counts.get("by_model", ())))
    except ValueError as error:
        raise Damaged(str(error)) from error
