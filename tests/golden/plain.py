"""Plain JSON of what comes out of a run: named fields only, so that a new field changes no recording."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Any

from pydantic import BaseModel

COUNTS = {
    "requests": "requests",
    "prompt": "prompt_tokens",
    "cached": "cached_tokens",
    "candidates": "candidates_tokens",
    "thoughts": "thoughts_tokens",
    "tool use": "tool_use_prompt_tokens",
    "total": "total_tokens",
    "estimated": "estimated",
}
BY_MODEL = {
    "long": "long",
    "requests": "requests",
    "input": "input_tokens",
    "cached": "cached_tokens",
    "output": "output_tokens",
}
PENDING = ("call_id", "name", "args", "kind", "why", "path")
CALL = ("index", "call_id", "name", "effect", "started", "response", "deferred")
EVENTS: Mapping[str, tuple[str, ...]] = {
    "TextDelta": ("text",),
    "OutputDelta": ("value",),
    "ThoughtDelta": ("text",),
    "ToolStarted": ("call_id", "name", "args"),
    "ToolProgress": ("call_id", "name", "message"),
    "ToolFinished": ("call_id", "name", "response", "error"),
    "ModelRetry": ("attempt", "reason", "discarded"),  # the delay has jitter in it
    "PrefixChanged": ("why",),
    "RequestDelayed": (),
    "ModelChanged": ("before", "after", "reason"),
    "MessageAdded": ("content",),
    "AgentEvent": ("path", "call_id", "event"),
    "TurnFinished": ("turn", "usage", "finish_reason", "model"),
    "RunFinished": (),
}
DELTAS = ("TextDelta", "OutputDelta", "ThoughtDelta")


def plain(value: Any) -> Any:
    """Make JSON values of any value that a run gives."""
    name = type(value).__name__
    if name in EVENTS and dataclasses.is_dataclass(value):
        return {name: fields(value, EVENTS[name])}
    if name == "Usage":
        return usage(value)
    if name == "PendingCall":
        return fields(value, PENDING)
    if isinstance(value, BaseException):
        return error(value)
    if isinstance(value, BaseModel):
        return {name: plain(value.model_dump())}
    if dataclasses.is_dataclass(value):
        return {name: fields(value, [field.name for field in dataclasses.fields(value)])}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, bool, type(None))) else f"<{name}>"


def fields(value: Any, names: Any) -> dict[str, Any]:
    """Give these fields of a value."""
    return {name: plain(getattr(value, name)) for name in names}


def usage(value: Any) -> str | None:
    """Give the counts of a usage that aren't zero, in a short text."""
    if value is None:
        return None
    texts = [_counts(value, COUNTS)]
    texts += [_of_model(used, value if len(value.by_model) == 1 else None) for used in value.by_model]
    return "; ".join(texts)


def _of_model(used: Any, whole: Any) -> str:
    """Give one model's counts; its name alone where they say what the usage's own do."""
    if whole is not None:
        sent = whole.prompt_tokens - whole.cached_tokens + whole.tool_use_prompt_tokens
        made = whole.candidates_tokens + whole.thoughts_tokens
        told = (whole.requests, sent, whole.cached_tokens, made)
        if (
            told == (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens)
            and not used.long
        ):
            return str(used.model)
    return f"{used.model}: {_counts(used, BY_MODEL)}"


def _counts(value: Any, names: Mapping[str, str]) -> str:
    found = {label: getattr(value, name) for label, name in names.items()}
    return ", ".join(
        label if count is True else f"{label} {count}" for label, count in found.items() if count
    )


def error(value: BaseException) -> dict[str, Any]:
    """Give an error's public type, its text and what handlers read of it."""
    public = next(kind for kind in type(value).__mro__ if not kind.__name__.startswith("_"))
    given: dict[str, Any] = {"error": public.__name__, "text": str(value)}
    for name in ("code", "status", "retryable", "retry_after", "rule", "index"):
        if (found := getattr(value, name, None)) not in (None, False):
            given[name] = plain(found)
    return given


def run(value: Any) -> dict[str, Any] | None:
    """Give what is known of a run."""
    if value is None:
        return None
    names = ("run_id", "session_id", "text", "output", "stop", "limit", "finish_reason", "model")
    made = fields(value, names)
    made |= fields(value, ("turns", "usage", "turn_usages", "errors", "pending", "results"))
    contents, new = value.contents, value.new_contents
    made["contents"] = contents
    made["new_contents"] = len(new) if new == contents[len(contents) - len(new) :] else new
    return made


def rows(store: Any, id: str) -> dict[str, Any]:
    """Give what a store has of a session, without times and versions."""
    session = store.load(id)
    messages = [
        {"seq": seq, **fields(each, ("content", "usage", "finish_reason"))}
        for seq, each in enumerate(session.messages)
    ]
    summary = session.summary
    return {
        "info": fields(store.info(id), ("messages", "usage", "title", "model", "instructions", "parent")),
        "messages": messages,
        "calls": [fields(each, CALL) for each in session.calls],
        "summary": None if summary is None else fields(summary, ("upto", "text")),
        "results": [fields(each, ("id", "seq", "text")) for each in store.results(id)],
    }


def merged(events: list[Any]) -> list[Any]:
    """Join the deltas of one kind that follow each other, as a list."""
    made: list[Any] = []
    for event in events:
        ((kind, given),) = event.items()
        if kind not in DELTAS:
            made.append(event)
            continue
        if not made or kind not in made[-1]:
            made.append({kind: []})
        made[-1][kind].append(*given.values())
    return made


def settled(events: list[Any]) -> list[Any]:
    """Sort what tools running side by side tell, by their calls: between them there is no order."""
    made: list[Any] = []
    block: list[Any] = []
    going: set[str] = set()
    for event in events:
        ((kind, given),) = event.items()
        if kind == "ToolStarted":
            going.add(given["call_id"])
        elif kind == "ToolFinished":
            going.discard(given["call_id"])
        if "call_id" in given:
            block.append(event)
        if going and "call_id" in given:
            continue
        made += sorted(block, key=lambda each: str(next(iter(each.values()))["call_id"]))
        block = []
        if "call_id" not in given:
            made.append(event)
    return [*made, *block]


_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?UTC|Z|\+00:00)?")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_LONGEST = 1000


class Placeholders:
    """Puts names in the place of what differs from one time to the next: ids, times, addresses, folders."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._ids: dict[str, str] = {}

    def put(self, value: Any) -> Any:
        """Put them in a JSON value; a long text is cut, and has its hash at the end."""
        if isinstance(value, dict):
            return {self.put(key): self.put(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put(item) for item in value]
        return self._put(value) if isinstance(value, str) else value

    def _put(self, text: str) -> str:
        text = text.replace(self._folder, "<folder>")
        text = _ID.sub(lambda found: self._ids.setdefault(found[0], f"<id {len(self._ids) + 1}>"), text)
        text = _TIME.sub("<time>", _ADDRESS.sub("<address>", text))
        if len(text) <= _LONGEST:
            return text
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]
        return f"{text[:200]} ... {text[-100:]} <{len(text)} characters, {digest}>"


def text_of(value: Any) -> str:
    """Write a JSON value down, its keys in their order."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is an escape of JSON's
