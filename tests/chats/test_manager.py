"""Many chats by id, on every store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    ChatManager,
    ConfigurationError,
    MemoryStore,
    SessionConflict,
    SessionNotFound,
    StoreError,
)
from agentkit.errors import SessionExists, StoreVersionError
from agentkit.stores.base import Cut, StoredSession
from agentkit.stores.store import SessionStore
from agentkit.stores.writer import Writer
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import Request
from tests.helpers.until import PATIENCE
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
        (exported.replace('"version": 5', '"version": 6'), StoreVersionError),
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


# -- what is remembered of the last ones


class CountingStore(MemoryStore):
    """Counts how often a session is read whole."""

    loads = 0

    def load(self, id: str, **part: Any) -> StoredSession:
        self.loads += 1
        return super().load(id, **part)

    def write(self, id: str, **given: Any) -> Writer:
        writer = super().write(id, **given)
        self.loads += writer.session is not None
        return writer


def said(chats: ChatManager, id: str) -> list[Any]:
    return [content["parts"][0].get("text") for content in chats.get(id).get_history()]


def test_the_next_message_of_a_chat_reads_no_history_again() -> None:
    store = CountingStore()
    chats = ChatManager(Agent(ScriptedModel([echo] * 4)), store)
    chats.create("ann")
    chats.send_message("ann", "one")
    store.loads = 0
    for text in ("two", "three"):
        chats.send_message("ann", text)
    chats.get("ann").send_message("four")
    assert store.loads == 0
    assert said(chats, "ann") == ["one", "to one", "two", "to two", "three", "to three", "four", "to four"]
    assert store.loads == 0


def test_saving_and_forking_read_a_chat_once(tmp_path: Path) -> None:
    store = CountingStore()
    chats = ChatManager(Agent(ScriptedModel([echo] * 2)), store)
    chats.create("ann")
    chats.send_message("ann", "one")
    others = ChatManager(Agent(ScriptedModel([])), store)
    store.loads = 0
    others.get("ann").save(tmp_path / "chat.json")
    assert store.loads == 1
    others.fork("ann")
    assert store.loads == 2


def test_what_somebody_else_has_changed_is_seen(store: SessionStore) -> None:
    model = ScriptedModel([echo] * 4)
    chats, others = ChatManager(Agent(model), store), ChatManager(Agent(model), store)
    chats.create("ann")
    chats.send_message("ann", "one")
    others.send_message("ann", "two")
    chats.send_message("ann", "three")
    assert len(model.requests[-1]["contents"]) == 5
    writer = store.write("ann")
    writer.append([Cut(2)])
    writer.release()
    chats.send_message("ann", "four")
    assert said(chats, "ann") == said(others, "ann") == ["one", "to one", "four", "to four"]


def test_a_chat_that_is_made_anew_begins_with_nothing(store: SessionStore) -> None:
    chats = ChatManager(Agent(ScriptedModel([echo] * 3)), store)
    for delete in (chats.delete_session, store.delete, lambda id: chats.delete_expired()):
        chats.create("ann", expires_in=timedelta(seconds=-1))
        chats.send_message("ann", "one")
        delete("ann")
        with pytest.raises(SessionNotFound):
            chats.send_message("ann", "two")
    chats.create("ann")
    assert said(chats, "ann") == []


def test_of_chats_used_long_ago_nothing_is_remembered() -> None:
    store = CountingStore()
    chats = ChatManager(Agent(ScriptedModel([echo] * 99)), store)
    for n in range(33):
        chats.create(f"c{n}")
        chats.send_message(f"c{n}", "x")
    chats.get("c1")  # c0 isn't remembered any more; c1 is, and now the last used
    chats.create("c33")
    store.loads = 0
    assert said(chats, "c1") == ["x", "to x"] and store.loads == 0
    assert said(chats, "c0") == ["x", "to x"] and store.loads == 1
    chats.delete_session("c32")
    chats.delete_expired()
    assert said(chats, "c1") == ["x", "to x"] and store.loads == 2


def test_a_second_message_of_an_id_is_a_conflict_at_once_or_waits_where_asked(store: SessionStore) -> None:
    agent = Agent(ScriptedModel([echo] * 4))
    hasty, patient = ChatManager(agent, store, wait=0), ChatManager(agent, store, wait=PATIENCE)
    hasty.create("ann")
    with ThreadPoolExecutor(1) as thread:
        with hasty.send_message("ann", "one", stream=True) as events:
            next(iter(events))
            with pytest.raises(SessionConflict):
                hasty.send_message("ann", "refused")
            with pytest.raises(SessionConflict):
                thread.submit(lambda: hasty.send_message("ann", "refused")).result(PATIENCE)
        with patient.send_message("ann", "two", stream=True) as events:
            next(iter(events))
            waiting = thread.submit(lambda: patient.send_message("ann", "three"))
            assert not wait([waiting], 0.2).done
            events.drain()
        assert waiting.result(PATIENCE).text == "to three"
    assert said(patient, "ann") == ["two", "to two", "three", "to three"]


def test_messages_of_many_threads_to_few_chats_are_all_kept(store: SessionStore) -> None:
    chats = ChatManager(Agent(ScriptedModel([echo] * 48)), store, wait=PATIENCE)
    for name in ("ann", "bob"):
        chats.create(name)
    with ThreadPoolExecutor(8) as threads:
        jobs = [(name, f"{name} {n}") for n in range(24) for name in ("ann", "bob")]
        runs = list(threads.map(lambda job: chats.send_message(*job).text, jobs))
    assert sorted(runs) == sorted(f"to {text}" for _, text in jobs)
    for name in ("ann", "bob"):
        history = said(chats, name)
        assert sorted(history[::2]) == sorted(text for id, text in jobs if id == name)
        assert [f"to {text}" for text in history[::2]] == history[1::2]
