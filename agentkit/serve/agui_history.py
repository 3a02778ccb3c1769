"""A thread of AG-UI over a stored session: what is stored is the truth, and what is new of the client's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ag_ui.core import AssistantMessage, RunAgentInput, ToolMessage, UserMessage

from agentkit import AgentError, Approve, ConfigurationError, Deny, Edit, Result
from agentkit.serve.decisions import Said
from agentkit.serve.stored import call_ids
from agentkit.stores.base import StoredSession
from agentkit.wire.content import calls_of, responses_of, text_of

SCHEMA = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object"},
        "reason": {"type": "string"},
        "result": {},
    },
}
"""What an interrupt is answered with: whether it is approved (with other arguments), or the call's result."""


def history(session: StoredSession | None) -> list[Any]:
    """Give the stored messages in AG-UI's form."""
    out: list[Any] = []
    if session is None:
        return out
    for index, message in enumerate(session.messages):
        content = message.content
        if content["role"] == "model":
            calls = [
                {
                    "id": id_,
                    "type": "function",
                    "function": {"name": call["name"], "arguments": _json(call.get("args"))},
                }
                for id_, call in zip(call_ids(session, index), calls_of(content), strict=False)
            ]
            fields: Any = {"content": text_of(content) or None, "tool_calls": calls or None}
            out.append(AssistantMessage(id=f"m{index}", role="assistant", **fields))
        elif responses := responses_of(content):
            for id_, response in zip(call_ids(session, index - 1), responses, strict=False):
                text = json.dumps(response["response"])
                out.append(ToolMessage(id=f"{id_}:result", role="tool", tool_call_id=id_, content=text))
        else:
            sender = getattr(message, "sender_id", None) or f"m{index}"
            out.append(UserMessage(id=sender, role="user", content=text_of(content)))
    return out


def _json(args: Any) -> str:
    return json.dumps(args or {})


class OtherHistory(AgentError):
    """A client's messages aren't those of the thread: the stored history is the truth."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new in a client's messages."""

    parts: list[Any]
    """What the user says, as a chat is sent it."""
    messages: list[Any]
    """The client's messages that say it."""


def news_in(given: RunAgentInput, known: Sequence[Any]) -> News | None:
    """Find what the user says anew; None if nothing is new.

    Raises:
        OtherHistory: The client's messages aren't this thread's.
    """
    theirs = [m for m in given.messages if m.role in ("user", "assistant", "tool") and not m.subagent_run_id]
    new: list[Any] = []
    while theirs and theirs[-1].role == "user":
        new.insert(0, theirs.pop())
    ids = {m.id for m in known if m.role == "user"}
    while new and new[0].id in ids:  # sent before, and not answered then
        theirs.append(new.pop(0))
    _compare(theirs, known)
    if not new:
        return None
    return News([part for message in new for part in _parts(message.content)], new)


def _compare(theirs: Sequence[Any], known: Sequence[Any]) -> None:
    said = [_text(m.content) for m in theirs if m.role == "user"]
    users = [m.content for m in known if m.role == "user"]
    if theirs and said != users:
        raise OtherHistory("The user's messages aren't those of this thread as it is stored.")
    texts = {m.content for m in known if m.role == "assistant" and m.content}
    results = {m.content for m in known if m.role == "tool"}
    for message in theirs:
        odd_text = message.role == "assistant" and message.content and message.content not in texts
        odd_result = message.role == "tool" and _text(message.content) not in results
        if odd_text or odd_result:
            raise OtherHistory(f"The message {message.id!r} isn't in this thread as it is stored.")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or () if part.type == "text")


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [content]
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    if part.type == "text":
        return part.text
    source = getattr(part, "source", None)
    if source is None or source.type != "data":
        raise ConfigurationError("Send media as data: addresses aren't fetched.")
    return {"inlineData": {"mimeType": source.mime_type, "data": source.value}}


def decision_of(entry: Any) -> Said:
    """Read the answer to an interrupt; only what clearly is an approval counts as one.

    Raises:
        ConfigurationError: It isn't an answer.
    """
    payload = entry.payload if isinstance(entry.payload, dict) else {}
    if entry.status == "cancelled" or payload.get("approved") is False:
        return Deny(str(payload.get("reason") or ""))
    if "result" in payload:
        return Result(payload["result"])
    if payload.get("approved") is True:
        edited = payload.get("editedArgs")
        return Edit(edited) if isinstance(edited, dict) else Approve()
    raise ConfigurationError(
        "Answer with {approved: true | false}, editedArgs or a reason; or with {result}."
    )
