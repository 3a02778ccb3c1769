"""What a message is given is kept with it: whoever resumes its chat, in any process, goes on with that."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    ChatManager,
    ConfigurationError,
    Context,
    Limits,
    MemoryStore,
    Price,
    SessionConflict,
    SQLiteStore,
    StoreError,
    tool,
)
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call
from tests.helpers.ways import Way, WayChat, either
from tests.stores.conftest import STORES

__all__ = ["either"]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with STORES[request.param](tmp_path) as store:
        yield store


@pytest.fixture
def ordered() -> list[Any]:
    return []


@pytest.fixture
def order(ordered: list[Any]) -> Any:
    @tool(effect="write", approval=True)
    def order(sku: str, ctx: Context[Any]) -> str:
        """Order."""
        ordered.append((sku, ctx.deps))
        return f"ordered {sku}"

    return order


@tool(effect="read")
def look() -> str:
    """Look."""
    return "nothing to see"


def agent_of(order: Any, *script: Any) -> tuple[Agent, ScriptedModel]:
    """Make the agent of another process."""
    model = ScriptedModel(list(script))
    return Agent(model, tools=[order, look], instructions="the agent's"), model


def system(model: ScriptedModel) -> Any:
    return model.requests[-1]["systemInstruction"]["parts"][0]["text"]


def approve(chat: WayChat) -> dict[str, Any]:
    return {waiting.call_id: Approve() for waiting in chat.pending}


GIVEN: Any = {
    "instructions": "the message's",
    "tool_choice": ["order"],
    "config": {"temperature": 0.5, "top_k": 3},
    "limits": Limits(turns=1, cost=5.0, prices={"scripted": Price(input=1.0, output=2.0)}),
}


def test_another_process_goes_on_with_what_the_message_was_given(
    either: Way, store: SessionStore, order: Any
) -> None:
    first, _ = agent_of(order, call("order", sku="A"))
    chat = either.chat(first, store, config={"temperature": 0.1, "seed": 7})
    assert chat.send("order A", **GIVEN).stop == "approval"
    second, model = agent_of(order, call("order", sku="B"), "never asked")
    chat = either.chat(second, store, config={"temperature": 0.1, "seed": 7})
    run = chat.resume(approve(chat), config={"top_k": 4})
    assert run.stop == "approval", "the one turn more that the limits give has a call"
    assert system(model) == "the message's"
    assert model.requests[-1]["generationConfig"] == {"temperature": 0.5, "topK": 4, "seed": 7}
    assert chat.resume(approve(chat)).stop is None


def test_limits_that_a_message_was_given_hold_in_another_process_too(
    either: Way, store: SessionStore, order: Any
) -> None:
    first, _ = agent_of(order, call("order", sku="A"))
    either.chat(first, store).send("order A", limits=Limits(turns=1))
    second, _ = agent_of(order, call("look"), "done")
    chat = either.chat(second, store)
    assert chat.resume(approve(chat)).stop == "turns"
    assert chat.resume().text == "done", "they begin anew"


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("output", int),
        ("deps", {"key": 1}),
        ("tools", []),
        ("instructions", lambda ctx: "said"),
        ("tool_choice", lambda ctx: None),
        ("model", None),
    ],
)
def test_what_cannot_be_written_down_is_named_and_nothing_is_lost(
    either: Way, store: SessionStore, order: Any, option: str, given: Any
) -> None:
    script = [call("order", sku="A"), '{"result": 1}']
    first, own = agent_of(order, *script)
    said = {option: {"tools": [order], "model": own}.get(option, given)}
    assert either.chat(first, store).send("order A", **said).stop == "approval"
    second, model = agent_of(order, '{"result": 1}')
    chat = either.chat(second, store)
    with pytest.raises(ConfigurationError, match=f"given {option}= .*again") as raised:
        chat.resume(approve(chat))
    assert raised.value.run is not None
    assert len(chat.pending) == 1
    assert not model.requests
    assert chat.resume(approve(chat), **said).stop is None


def test_what_the_chat_has_itself_need_not_be_given_again(
    either: Way, store: SessionStore, order: Any, ordered: list[Any]
) -> None:
    first, _ = agent_of(order, call("order", sku="A"))
    either.chat(first, store).send("order A", deps="ann's")
    second, _ = agent_of(order, "done")
    chat = either.chat(second, store, deps="hers, made anew")
    assert chat.resume(approve(chat)).text == "done"
    assert ordered == [("A", "hers, made anew")]


def test_the_same_process_has_all_of_it_until_another_message_is_sent(
    store: SessionStore, order: Any
) -> None:
    agent, model = agent_of(order, call("order", sku="A"), '{"result": 3}')
    chat = agent.chat("ann", store)
    chat.send_message("order A", output=int, instructions=lambda ctx: "made")
    assert chat.resume({chat.pending[0].call_id: Approve()}).output == 3
    assert system(model) == "made"
    other, _ = agent_of(order, call("order", sku="B"))
    other.chat("ann", store).send_message("order B", instructions="the other's")
    again, model = agent_of(order, "done")
    last = again.chat("ann", store)
    assert last.resume({last.pending[0].call_id: Approve()}).text == "done"
    assert system(model) == "the other's"


def test_a_message_without_options_keeps_nothing(store: SessionStore, order: Any) -> None:
    agent, _ = agent_of(order, "one", "two")
    chat = agent.chat("ann", store, deps={"key": 1}, config={"temperature": 0.1})
    chat.send_message("one")
    chat.send_message("two", instructions="short")
    assert [message.given for message in chat.get_messages()] == [None, None, {"instructions": "short"}, None]


def test_an_object_that_has_sent_before_goes_on_with_what_another_process_was_given(
    tmp_path: Path, order: Any
) -> None:
    with SQLiteStore(tmp_path / "chats.db") as one, SQLiteStore(tmp_path / "chats.db") as two:
        mine, model = agent_of(order, "mine", "done")
        chat = mine.chat("ann", one)
        chat.send_message("hello", instructions="mine", deps="mine")
        other, _ = agent_of(order, call("order", sku="B"))
        other.chat("ann", two).send_message("order B", instructions="the other's")
        assert chat.resume({chat.pending[0].call_id: Approve()}).text == "done"
        assert system(model) == "the other's"


def test_what_is_said_meanwhile_is_given_the_same(store: SessionStore, order: Any) -> None:
    first, _ = agent_of(order, call("order", sku="A"))
    chat = first.chat("ann", store)
    with chat.send_message_stream("order A", instructions="the message's") as stream:
        stream.send("and quickly")
        stream.drain()
    assert {m.given["instructions"] for m in chat.get_messages() if m.given} == {"the message's"}
    second, model = agent_of(order, "done")
    again = second.chat("ann", store)
    assert again.resume({again.pending[0].call_id: Approve()}).text == "done"
    assert system(model) == "the message's"


def test_a_message_sent_again_goes_on_with_what_it_was_given(
    either: Way, store: SessionStore, order: Any
) -> None:
    first, _ = agent_of(order, call("look"))
    run = either.chat(first, store).send("look", id="1", instructions="the message's", limits=Limits(turns=1))
    assert run.stop == "turns"
    second, model = agent_of(order, "done")
    assert either.chat(second, store).send("look", id="1").text == "done"
    assert system(model) == "the message's"


def test_undo_fork_save_load_export_and_import_keep_what_belongs_to_the_messages(
    tmp_path: Path, store: SessionStore, order: Any
) -> None:
    first, _ = agent_of(order, call("order", sku="A"), call("order", sku="B"))
    manager = ChatManager(first, store)
    chat = manager.create("ann")
    chat.send_message("order A", instructions="the first's")
    chat.save(tmp_path / "ann.json")
    exported = manager.export_session("ann")
    for made in ("load", "import"):
        second, model = agent_of(order, "done", "more")
        if made == "load":
            again = second.chat("loaded", store)
            again.load(tmp_path / "ann.json")
        else:
            again = ChatManager(second, MemoryStore()).import_session(exported)
        run = again.resume({again.pending[0].call_id: Approve()})
        assert (run.text, system(model)) == ("done", "the first's")
        forked = again.fork()
        forked.send_message("and more", instructions="the second's")
        assert system(model) == "the second's"
        forked.undo()
        given = [message.given for message in forked.get_messages()]
        assert given[0] == {"instructions": "the first's"}
        assert not any(given[1:])


def test_a_manager_goes_on_with_what_a_message_was_given(store: SessionStore, order: Any) -> None:
    async def main() -> None:
        first, _ = agent_of(order, call("order", sku="A"))
        chat = await ChatManager(first, store).aio.create("ann")
        await chat.send_message("order A", instructions="the message's")
        second, model = agent_of(order, "done")
        chat = await ChatManager(second, store).aio.get("ann")
        run = await chat.resume({call.call_id: Approve() for call in await chat.get_pending()})
        assert (run.text, system(model)) == ("done", "the message's")

    asyncio.run(main())


@pytest.mark.parametrize(
    "damage", ['{"instructions": 3}', '{"limits": {"turns": "x"}}', '{"unknown": 1}', '{"limits": {"x": 1}}']
)
def test_what_is_damaged_is_told_and_nothing_is_done(tmp_path: Path, order: Any, damage: str) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        first, _ = agent_of(order, call("order", sku="A"))
        first.chat("ann", store).send_message("order A", instructions="x")
    with sqlite3.connect(tmp_path / "chats.db") as db:
        db.execute("UPDATE messages SET given = ? WHERE given IS NOT NULL", (damage,))
    with SQLiteStore(tmp_path / "chats.db") as store:
        second, model = agent_of(order, "done")
        chat = second.chat("ann", store)
        with pytest.raises((StoreError, ConfigurationError), match=r"ann|limits"):
            chat.resume()
        assert not model.requests


def test_a_resume_of_a_chat_that_is_busy_changes_nothing(store: SessionStore, order: Any) -> None:
    agent, _ = agent_of(order, call("order", sku="A"), "done")
    chat = agent.chat("ann", store)
    with chat.send_message_stream("order A", instructions="the message's") as stream:
        next(stream)
        with pytest.raises(SessionConflict):
            agent.chat("ann", store).resume()
        stream.drain()
    assert chat.resume({chat.pending[0].call_id: Approve()}).text == "done"
