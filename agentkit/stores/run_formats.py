"""Runs as earlier versions wrote them down, brought to today's form."""

from __future__ import annotations

import json
from typing import Final

from pydantic.alias_generators import to_camel

from agentkit.wire.content import JsonObject

FORMAT: Final = 3
"""Format 2 brought messages in the place of contents; format 3 says what belongs together in groups."""
_ENDED = ("text", "said", "stop", "why", "limit", "finishReason", "errors", "metadata")


def upgraded(wire: JsonObject) -> JsonObject:
    """Bring a run of an earlier format to today's. Raises KeyError and its like where it is damaged."""
    if wire.get("agentkitRun") == 1:
        wire = _from_first({**wire})
    return _from_second({**wire}) if wire.get("agentkitRun") == 2 else wire


def _from_second(wire: JsonObject) -> JsonObject:
    opened, pending = wire.pop("opened"), wire.pop("pending")
    waiting = opened if opened is None else {"calls": opened["calls"], "pending": pending}
    if opened is None and pending:
        raise ValueError("calls wait that are not open")
    if opened is not None and opened["message"]["content"] != wire["messages"][-2]["content"]:
        raise ValueError("its open calls are not those of its last turn")
    ended = {name: wire.pop(name) for name in _ENDED if name in wire}
    used = {"model": wire.pop("model"), "usage": wire.pop("usage"), "turns": wire.pop("turnUsages")}
    return {**wire, "agentkitRun": FORMAT, "ended": ended, "used": used, "waiting": waiting}


def _from_first(wire: JsonObject) -> JsonObject:
    messages = [
        {"content": content, "model": model, "created": None}
        for content, model in zip(wire.pop("contents"), wire.pop("models"), strict=True)
    ]
    opened = wire.pop("opened")
    if opened is not None:
        calls = [{to_camel(key): value for key, value in call.items()} for call in opened["calls"]]
        opened = {"message": messages[-2], "calls": calls}
    usages = [_usage_in(usage) for usage in wire.pop("turnUsages")]
    more = {"usage": _usage_in(wire["usage"]), "turnUsages": usages, "opened": opened, "messages": messages}
    return {
        **wire,
        **more,
        "agentkitRun": 2,
        "why": f"It stopped: {wire['stop']}." if wire["stop"] else "",
        "given": {},
    }


def _usage_in(raw: str) -> JsonObject:
    usage = {to_camel(key): value for key, value in json.loads(raw).items()}
    usage["byModel"] = [{to_camel(k): v for k, v in row.items()} for row in usage.get("byModel", ())]
    return usage
