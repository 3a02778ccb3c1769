"""Events of a run as rows for the page: the events' own JSON form, but for text, which comes as safe HTML."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit import Price, Usage
from agentkit.events import (
    AgentEvent,
    Event,
    MediaDelta,
    MessageAdded,
    ModelRetry,
    OutputDelta,
    RunFinished,
    ServerToolFinished,
    ServerToolStarted,
    SourcesFound,
    TextDelta,
    ThoughtDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    to_wire,
)
from agentkit.serve.log import Row
from agentkit.serve.markdown import Stream, render

Scope = tuple[str, ...]
"""Where something happens: () in the run itself, else the calls that sub-agents answer, the outermost first."""

_MEDIA = 6_000_000


@dataclass
class _Text:
    id: str
    stream: Stream = field(default_factory=Stream)
    due: str = ""


class Teller:
    """Turns events into rows. Text is collected until `take`: whoever calls it seldom renders and sends less.

    Args:
        mark: What the ids of texts begin with: unlike those of other runs of the session.
        prices: What tokens cost; None: agentkit's list.
        clock: Gives the time of what is told, in seconds since 1970; None where it isn't known.
    """

    def __init__(
        self,
        mark: str,
        prices: Mapping[str, Price] | None = None,
        clock: Callable[[], float | None] = time.time,
    ) -> None:
        self._mark = mark
        self._prices = prices
        self._clock = clock
        self._count = 0
        self._texts: dict[tuple[Scope, str], _Text] = {}
        self._turn: dict[Scope, list[str]] = {}  # the texts of the last turn: it may not count after all
        self._said: dict[Scope, list[tuple[str, str]]] = {}  # the ids and words of its texts that have ended
        self._rows: list[Row] = []
        self.cost = 0.0
        """Seconds that the last `take` took: a long list or fence is one block, and rendered whole each time."""

    def take(self) -> list[Row]:
        """Return the rows since the last time."""
        began = time.perf_counter()
        self._flush()
        rows, self._rows = self._rows, []
        self.cost = time.perf_counter() - began
        return rows

    def add(self, kind: str, **data: Any) -> None:
        """Add a row that belongs to no event."""
        self._flush()
        self._append({"type": kind, **data})

    def _append(self, row: Row) -> None:
        self._rows.append({"at": self._clock(), **row})

    def tell(self, event: Event, scope: Scope = (), **more: Any) -> None:
        """Add the rows of an event.

        Args:
            event: What happened.
            scope: Where.
            more: What to say beside it, e.g. when.
        """
        match event:
            case TextDelta(text):
                self._text(scope, "text").due += text
            case ThoughtDelta(text):
                self._text(scope, "thought").due += text
            case AgentEvent(_, call_ids, inner):
                self.tell(inner, call_ids, **more)
            case OutputDelta(value):
                text_id = self._text(scope, "text").id
                row = {"type": "output", "text": text_id, "value": value, "key": f"output {text_id}"}
                self._append({**row, "within": list(scope), **more})
            case RunFinished():
                pass
            case _:
                self._other(event, scope, more)

    def _other(self, event: Event, scope: Scope, more: Mapping[str, Any]) -> None:
        self._flush()
        row = {**to_wire(event), "within": list(scope)}
        if isinstance(event, (ToolStarted, MessageAdded, ModelRetry)):
            self._said.pop(scope, None)  # what comes is another text
        match event:
            case ModelRetry(discarded=discarded):
                self._end_texts(scope)
                row["texts"] = self._turn.pop(scope, []) if discarded else []
            case ToolStarted():
                self._turn.pop(scope, None)
            case ToolFinished(response=response, error=error):
                row["failed"] = error is not None or "error" in response["response"]
                row["response"] = {**response, "parts": lighter(response.get("parts"))}
            case ServerToolStarted() | MediaDelta():
                self._end_texts(scope)  # what follows stands behind it
                if isinstance(event, MediaDelta):
                    row["part"] = lighter([event.part])[0]
            case ServerToolFinished(status=status):
                row["failed"] = not status.endswith(("_OK", "_SUCCESS")) and bool(status)
            case SourcesFound():
                self._end_texts(scope)
                self._note_sources(event, scope)
                row = {
                    "type": "sources",
                    "sources": row["sources"],
                    "within": row["within"],
                    "suggestions": None,
                }
            case TurnFinished(usage=usage):
                self._end_texts(scope)
                row["usage"] = usage_row(usage, self._prices)
        self._append({**row, **more})

    def _note_sources(self, event: SourcesFound, scope: Scope) -> None:
        """Put the numbers of sources into the texts that they support."""
        ends = [(end, number) for number, source in enumerate(event.sources, 1) for _, end in source.spans]
        at = 0
        for text_id, text in self._said.get(scope, ()):
            notes = [(end - at, number) for end, number in ends if at < end <= at + len(text)]
            at += len(text)
            if notes:
                self._block(scope, "text", text_id, 0, render(text, notes), whole=True)

    def _text(self, scope: Scope, kind: str) -> _Text:
        text = self._texts.get((scope, kind))
        if text is None:
            other = (scope, "thought" if kind == "text" else "text")
            if other in self._texts:
                self._flush()  # so that they stand in the order in which they came
            self._count += 1
            text = self._texts[scope, kind] = _Text(f"{self._mark}.{self._count}")
            if not any(where == scope for where, k in self._texts if k != kind):
                self._turn[scope] = []
            self._turn[scope].append(text.id)
        return text

    def _flush(self) -> None:
        for (scope, kind), text in self._texts.items():
            due, text.due = text.due, ""
            for block, html in text.stream.feed(due) if due else ():
                self._block(scope, kind, text.id, block, html)

    def _block(self, scope: Scope, kind: str, text_id: str, block: int, html: str, **more: Any) -> None:
        row = {"type": kind, "text": text_id, "block": block, "html": html, "within": list(scope)}
        self._append({**row, "key": f"{text_id} {block}", **more})

    def _end_texts(self, scope: Scope) -> None:
        for where, kind in [key for key in self._texts if key[0] == scope]:
            text = self._texts.pop((where, kind))
            if kind == "text":
                self._said.setdefault(scope, []).append((text.id, text.stream.text))
            value = json_value(text.stream.text) if kind == "text" else None
            if value is not None:
                self._append({"type": "output", "text": text.id, "value": value, "within": list(scope)})
            elif (html := text.stream.end()) is not None:
                self._block(scope, kind, text.id, 0, html, whole=True)


def json_value(text: str) -> Any:
    """Return the object or list that a whole text is, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) and value else None


def usage_row(usage: Usage, prices: Mapping[str, Price] | None = None) -> Row:
    """Make JSON of a usage for the page: tokens in (`cached` of them) and out, and dollars where they are known."""
    return {
        "in": usage.prompt_tokens + usage.tool_use_prompt_tokens,
        "cached": usage.cached_tokens,
        "out": usage.candidates_tokens + usage.thoughts_tokens,
        "thoughts": usage.thoughts_tokens,
        "estimated": usage.estimated,
        "cost": usage.cost() if prices is None else usage.cost(prices),
    }


def lighter(parts: Any) -> list[Row]:
    """Copy media parts without the data of those that are too large to be shown."""
    kept = []
    for part in parts or ():
        blob = part.get("inlineData")
        if blob and len(blob.get("data", "")) > _MEDIA:
            blob = {**blob, "data": "", "size": len(blob["data"]) * 3 // 4}
        kept.append({**part, "inlineData": blob} if blob else part)
    return kept
