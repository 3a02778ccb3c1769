"""Many chats by id, on every store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ChatManager, ConfigurationError, SessionNotFound, StoreError
from agentkit.errors import SessionExists, StoreVersionError
from agentkit.stores.base import SessionStore
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import Request
from tests.stores.conftest import STORES


def echo(request: Request) -> str:
    return f"to {request['contents'][-1]['parts'][0].get('text')}"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with STORES[request.param](tmp_path) as store:
        yield store


@pytest.fixture
def chats(store: SessionStore) -> ChatManager:
    return ChatManager(Agent(ScriptedModel([echo] * 100)), store)


def test_chats_are_made_found_and_deleted_by_id(chats: ChatManager) -> None:
    chats.create("ann", title="Ann")
    with pytest.raises(SessionExists):
        chats.create("ann")
    assert chats.get("ann").id == "ann"
    assert len(chats.create().id) == 32
    for missing in (
        lambda: chats.get("bob"),
        lambda: chats.get_history("bob"),
        lambda: chats.delete_session("bob"),
    ):
        with pytest.raises(SessionNotFound, match="bob"):
            missing()
    with pytest.raises(SessionNotFound):
        chats.send_message("bob", "hi")
    chats.delete_session("ann")
    chats.create("ann")
    assert chats.get_history("ann") == []


def test_a_stream_that_is_not_read_to_the_end_does_not_hold_the_chat(chats: ChatManager) -> None:
    chats.create("ann")
    with chats.send_message("ann", "first", stream=True) as events:
        next(iter(events.texts()))
    assert chats.send_message("ann", "second").text == "to second"
    assert len(chats.get_history("ann")) == 2


def test_settings_of_a_chat_are_its_own_and_outlive_the_manager(store: SessionStore) -> None:
    model = ScriptedModel([echo] * 2)
    ChatManager(Agent(model, instructions="agent"), store).create("ann", instructions="ann's")
    chats = ChatManager(Agent(model, instructions="agent"), store)
    chats.create("bob")
    chats.send_message("ann", "x")
    chats.send_message("bob", "x")
    assert [r["systemInstruction"]["parts"][0]["text"] for r in model.requests] == ["ann's", "agent"]
    chats.create("cy", model="gemini-of-its-own")
    assert chats.get("cy").info.model == "gemini-of-its-own"


def test_lists_are_paged_the_last_used_first(chats: ChatManager) -> None:
    for n in range(7):
        chats.create(f"c{n}")
        time.sleep(0.002)
    chats.send_message("c2", "hello")
    seen: list[str] = []
    after = None
    while page := chats.list(limit=3, after=after):
        assert len(page) <= 3
        seen += [info.id for info in page]
        after = page[-1]
    assert seen == ["c2", "c6", "c5", "c4", "c3", "c1", "c0"]
    assert chats.list(limit=1)[0].messages == 2
    assert chats.list(limit=1)[0].usage.requests == 1


def test_search_takes_words_not_queries(chats: ChatManager) -> None:
    chats.create("ann")
    chats.create("bob")
    chats.send_message("ann", "the quick brown fox")
    chats.send_message("bob", 'a "quoted" AND odd* (query) NEAR fox -minus')
    assert {hit.session_id for hit in chats.search("fox")} == {"ann", "bob"}
    assert {hit.session_id for hit in chats.search("brown fox")} == {"ann"}
    assert "brown" in chats.search("brown fox")[0].snippet
    for odd in ('"', "*", "AND", "NEAR(", "quick OR", "-fox", "col:x", "'; DROP TABLE sessions", ""):
        chats.search(odd)
    chats.delete_session("ann")
    assert {hit.session_id for hit in chats.search("brown")} == set()


def test_export_and_import(chats: ChatManager) -> None:
    chats.create("ann", title="Ann", instructions="Be nice.")
    chats.send_message("ann", "Größe ``` 😀")
    exported = chats.export_session("ann")
    with pytest.raises(SessionExists):
        chats.import_session(exported)
    copy = chats.import_session(json.loads(exported), id="copy")
    assert copy.get_messages() == chats.get_history("ann")
    assert (copy.info.title, copy.info.instructions) == ("Ann", "Be nice.")
    for bad, kind in (
        ("{", StoreError),
        ("{}", StoreError),
        (exported.replace('"version": 1', '"version": 3'), StoreVersionError),
    ):
        with pytest.raises(kind):
            chats.import_session(bad, id="bad")
    assert {info.id for info in chats.list()} == {"ann", "copy"}
    with pytest.raises(ConfigurationError, match="markdown"):
        chats.export_session("ann", format="html")  # type: ignore[arg-type]


def test_markdown_is_for_people(store: SessionStore) -> None:
    def look(city: str) -> str:
        """Look."""
        return "``` sunny"

    thought: Any = {"text": "hm\nwell", "thought": True}
    image: Any = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    model = ScriptedModel([[thought, call("look", city="Rome")], "It is sunny."])
    chats = ChatManager(Agent(model, tools=[look]), store)
    chats.create("ann", title="Weather")
    chats.send_message("ann", ["What about this?", image])
    text = chats.export_session("ann", format="markdown")
    assert text.startswith("# Weather\n\n## User, 20")
    for piece in (
        "*(image/png)*",
        "> hm\n> well",
        '```\nlook({"city": "Rome"})\n```',
        "````\nlook ->",
        "It is sunny.",
    ):
        assert piece in text
    assert "AAAA" not in text


def test_fork_rename_and_expiry(chats: ChatManager) -> None:
    chats.create("ann", expires_in=timedelta(seconds=-1))
    chats.send_message("ann", "one")
    fork = chats.fork("ann", new_id="fork")
    assert len(fork.get_history()) == 2
    assert fork.info.parent == "ann"
    chats.rename("fork", "A fork")
    assert chats.get("fork").info.title == "A fork"
    chats.create("later", expires_in=timedelta(hours=1))
    assert chats.delete_expired() == 1
    assert {info.id for info in chats.list()} == {"fork", "later"}
    chats.expire("later", timedelta(seconds=-1))
    chats.expire("fork", timedelta(seconds=-1))
    chats.expire("fork", None)
    assert chats.delete_expired() == 1
    assert [info.id for info in chats.list()] == ["fork"]
