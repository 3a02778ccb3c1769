"""A turn, looked at afterwards: the reply as it is stored, and the request as far as it can be rebuilt."""

from __future__ import annotations

import math
from typing import Any

from agentkit import Agent, SessionNotFound, Usage
from agentkit.serve.log import Row
from agentkit.serve.rows import lighter, usage_row
from agentkit.stores.base import StoredSession


def turn_of(agent: Agent | None, session: StoredSession, index: int) -> Row:
    """Give a turn's reply and its request, rebuilt: a memory or a hook may have sent less, or something else.

    Args:
        agent: Whose instructions and tools are shown, if it is known.
        session: What is stored.
        index: The reply's, among the messages.

    Raises:
        SessionNotFound: There is no such reply.
    """
    if index not in replies_in(session):
        raise SessionNotFound("This turn is not stored: it had no answer, or was asked again.")
    contents = [_shown(message.content) for message in session.messages[: index + 1]]
    return {
        "rebuilt": True,
        "request": {**_settings(agent, session), "contents": contents[:-1]},
        "reply": contents[-1],
        **_about(agent, session, index),
    }


def turns_of(agent: Agent | None, session: StoredSession) -> Row:
    """Give all turns, each content once: a turn's request has those before its reply; see `turn_of`."""
    return {
        "request": _settings(agent, session),
        "contents": [_shown(message.content) for message in session.messages],
        "turns": {index: _about(agent, session, index) for index in replies_in(session)},
    }


def _settings(agent: Agent | None, session: StoredSession) -> Row:
    return {
        "model": session.info.model or (agent.model.name if agent else None),
        "systemInstruction": _instructions(agent, session),
        "tools": [tool.declaration for tool in agent.tools] if agent else None,
    }


def _about(agent: Agent | None, session: StoredSession, index: int) -> Row:
    message = session.messages[index]
    usage = usage_row(message.usage or Usage(), agent.limits.prices if agent else None)
    return {"finishReason": message.finish_reason, "usage": usage}


def replies_in(session: StoredSession) -> list[int]:
    """List the indexes of the model's messages."""
    return [index for index, message in enumerate(session.messages) if message.content["role"] == "model"]


def reply_at(session: StoredSession, at: float) -> int:
    """Find the reply that came at a time, as near as a second; -1 if there is none: it wasn't stored."""
    near = [(abs((session.messages[i].created or 0) - at), i) for i in replies_in(session)]
    distance, index = min(near, default=(math.inf, -1))
    return index if distance < 1 else -1


def _instructions(agent: Agent | None, session: StoredSession) -> str | None:
    own = session.info.instructions or (agent.instructions if agent else None)
    return own if own is None or isinstance(own, str) else "(made by a function for each run)"


def _shown(content: Any) -> Any:
    return {**content, "parts": lighter(content["parts"])}
