"""A chat to store, and short ways to store one."""

from __future__ import annotations

from typing import Any

from agentkit.stores.base import AddMessage, Message, StoredCall
from agentkit.stores.store import SessionStore
from agentkit.stores.writer import Writer
from agentkit.wire.content import Content, call_part, model_content, response_part, user_content

ASK = user_content("What is the weather in Oslo?")
CALL = model_content(call_part("weather", {"city": "Oslo"}, id="c1"), call_part("clock"))
LEDGER = (
    StoredCall(index=0, call_id="run-1-0", name="weather", effect="read"),
    StoredCall(index=1, call_id="run-1-1", name="clock", effect="write"),
)
RAIN = response_part({"name": "weather", "id": "c1"}, {"output": "rain"})
NOON = response_part({"name": "clock"}, {"output": "noon"})


def added(content: Content, calls: Any = (), **known: Any) -> AddMessage:
    """Make the step that adds a message."""
    return AddMessage(Message(content=content, **known), calls)


def texts(store: SessionStore, id: str) -> list[str]:
    return [message.content["parts"][0]["text"] for message in store.load(id).messages]


def say(writer: Writer, *words: str) -> None:
    writer.append([added(user_content(text)) for text in words])


def made(store: SessionStore, *words: str, id: str = "ann") -> Writer:
    store.create(id)
    writer = store.write(id)
    say(writer, *words)
    return writer


def with_calls(store: SessionStore) -> Writer:
    writer = made(store)
    writer.append([added(ASK), added(CALL, LEDGER)])
    return writer
