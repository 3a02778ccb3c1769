"""What a store keeps of a session, told in the same rows as a run that goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from agentkit import Price
from agentkit.chats.pending import pending_in
from agentkit.core.beside import seconds_of, told_suggestions
from agentkit.core.server_tools import ServerTools
from agentkit.events import (
    SourcesFound,
    TextDelta,
    ThoughtDelta,
    ToldError,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from agentkit.limits import Usage
from agentkit.serve.log import Row
from agentkit.serve.rows import Teller, lighter
from agentkit.stores.base import StoredCall, StoredSession
from agentkit.wire.content import FunctionResponse, calls_of, responses_of, text_of
from agentkit.wire.sources import sources_of
from agentkit.wire.sources import suggestions_of as suggestions_in


def stored_rows(session: StoredSession, upto: int, prices: Mapping[str, Price] | None = None) -> list[Row]:
    """Tell the first `upto` messages of a session, and the open calls of the last, as rows."""
    rows: list[Row] = []
    for index in range(upto):
        rows += _message_rows(session, index, prices)
    return rows


def broken_off(session: StoredSession) -> Row | None:
    """Tell that a session has no answer to its last message, and nobody is asked for anything: a process ended."""
    last = session.messages[-1].content if session.messages else None
    if last is None or (last["role"] == "model" and not calls_of(last)):
        return None
    why = "The program ended before the answer was there. Retry goes on from where it was."
    return {"type": "end", "stop": "error", "why": why, "done": []}


def waiting(session: StoredSession) -> Row | None:
    """Tell the calls of a session that wait: for somebody, and those `held` behind them, that have not begun."""
    if not session.calls:
        return None
    last = session.messages[-1]
    pending = pending_in(last.content, session.calls)
    if not pending:
        return None
    asked, calls = {call.call_id for call in pending}, calls_of(last.content)
    held = [
        {"callId": e.call_id, "name": e.name, "args": e.args or calls[e.index].get("args") or {}}
        for e in session.calls
        if not _has_begun(e) and e.call_id not in asked
    ]
    return {
        "type": "pending",
        "calls": [call.to_wire() for call in pending],
        "held": held,
        "at": last.created,
    }


def _has_begun(call: StoredCall) -> bool:
    return call.started or call.response is not None or call.deferred is not None


def call_ids(session: StoredSession, index: int) -> list[str]:
    """Give ids to the calls of a message: those of the ledger while it is open, else made of the place."""
    if session.calls and index == len(session.messages) - 1:
        return [call.call_id for call in session.calls]
    return [f"{index}.{n}" for n in range(len(calls_of(session.messages[index].content)))]


def _message_rows(session: StoredSession, index: int, prices: Mapping[str, Price] | None) -> list[Row]:
    message = session.messages[index]
    teller = Teller(f"m{index}", prices, lambda: message.created)
    if message.content["role"] == "model":
        _tell_reply(teller, session, index)
    elif responses := responses_of(message.content):
        took = chain(seconds_of(message), repeat(None))
        for call_id, response, seconds in zip(call_ids(session, index - 1), responses, took, strict=False):
            _tell_response(teller, call_id, response, seconds)
        if shown := suggestions_of(session, index):
            teller.tell(SourcesFound((), shown), suggestions=index)
    else:
        teller.add("user", **user_row(message.content["parts"]))
    return teller.take()


def user_row(parts: Sequence[Any]) -> Row:
    """Tell what a user said: its text and its media."""
    text = "\n\n".join(part["text"] for part in parts if part.get("text"))
    return {"text": text, "media": lighter([part for part in parts if "inlineData" in part])}


def _tell_reply(teller: Teller, session: StoredSession, index: int) -> None:
    message = session.messages[index]
    content = message.content
    server = ServerTools(f"m{index}")
    for part in content["parts"]:
        if text := part.get("text"):
            teller.tell(ThoughtDelta(text) if part.get("thought") else TextDelta(text))
        for event in server.part(part):
            teller.tell(event)
    for event in (*server.beside(message.metadata or {}), *server.end()):
        teller.tell(event)
    sources = sources_of([(content, message.metadata)], text_of(content))
    suggestions = suggestions_of(session, index)
    if sources or suggestions:
        teller.tell(SourcesFound(sources, suggestions), suggestions=index if suggestions else None)
    usage = message.usage or Usage()
    teller.tell(TurnFinished(0, usage, message.finish_reason or "", _model_of(usage)), message=index)
    ledger = session.calls if index == len(session.messages) - 1 else ()
    later = {entry.call_id for entry in ledger if not _has_begun(entry)}
    for call_id, call in zip(call_ids(session, index), calls_of(content), strict=False):
        started = ToolStarted(call_id, call["name"], call.get("args") or {})
        teller.tell(started, waits=call_id in later)
    for entry in ledger:
        if entry.response is not None:
            _tell_response(teller, entry.call_id, entry.response["functionResponse"])
        elif entry.deferred is not None:
            nothing: FunctionResponse = {"name": entry.name, "response": {}}
            teller.tell(ToolFinished(entry.call_id, entry.name, nothing, 0.0, waits=True), seconds=None)


def _model_of(usage: Usage) -> str:
    return usage.by_model[0].model if len(usage.by_model) == 1 else ""


def _tell_response(
    teller: Teller, call_id: str, response: FunctionResponse, seconds: float | None = None
) -> None:
    error = ToldError("Error") if "error" in response["response"] else None
    teller.tell(ToolFinished(call_id, response["name"], response, 0.0, error), seconds=seconds)


def suggestions_of(session: StoredSession, index: int) -> str:
    """Return the search suggestions of a message or its sub-agents: Google's HTML, which its terms ask to show."""
    metadata = session.messages[index].metadata
    return suggestions_in(metadata) or "\n".join(told_suggestions(metadata))
