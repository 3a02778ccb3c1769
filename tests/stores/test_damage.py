"""Rows that are damaged: what is wrong is named, and what is sound is of use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.chats.chat import Chat
from agentkit.chats.manager import ChatManager
from agentkit.errors import ConfigurationError, SessionConflict, StoreError
from agentkit.limits import Usage
from agentkit.stores.base import Cut, DamagedMessage, Message, SaveSummary
from agentkit.stores.store import SessionStore
from agentkit.testing.scripted import ScriptedModel
from agentkit.wire.content import Request, call_part, model_content, response_part, user_content
from tests.helpers.stored_chats import ASK, CALL, LEDGER, added, made, texts


def echo(request: Request) -> str:
    return f"to {request['contents'][-1]['parts'][0].get('text')}"


def damage(store: SessionStore, statement: str, *values: Any) -> None:
    """Change rows past the store."""
    store._db.run([(statement, values)])


def is_sqlite(store: SessionStore) -> bool:
    return not type(store).__name__.startswith("Postgres")


OWNERS = ("", "x", "{", "[]", "[1]", '[1.0, "x", 0, ""]', '[1.0, "x", 1e99, ""]', "-1", "9" * 30, b"\xff")


def test_an_owner_that_cannot_be_read_has_gone(store: SessionStore) -> None:
    made(store, "one").release()
    set_owner = "UPDATE {p}sessions SET owner = CAST(? AS TEXT)"
    for owner in OWNERS:
        if isinstance(owner, bytes) and not is_sqlite(store):
            continue  # there is no text that is none
        chat = Agent(ScriptedModel(["two"])).chat("ann", store)
        damage(store, set_owner, owner)
        assert chat.send_message("one").text == "two"
        damage(store, set_owner, owner)
        chat.clear()
    assert texts(store, "ann") == [] and store.check() == []
    writer = store.write("ann")
    with pytest.raises(SessionConflict):
        store.write("ann")
    writer.release()


def chat_of(store: SessionStore) -> Chat:
    """Open the chat anew, as another process does."""
    return Agent(ScriptedModel([echo] * 9)).chat("ann", store)


def three_turns(store: SessionStore) -> Chat:
    """Make a chat of three turns, each with a state."""
    chat = chat_of(store)
    for text in ("one", "two", "three"):
        chat.state = {"last": text}
        chat.send_message(text)
    return chat


def said(chat: Chat) -> list[str]:
    return [content["parts"][0]["text"] for content in chat.get_history()]


LOST: dict[str, tuple[str, int, int]] = {
    "the last": ("DELETE FROM {p}messages WHERE seq = 5", 5, 2),
    "the last three": ("DELETE FROM {p}messages WHERE seq > 2", 3, 1),
    "all": ("DELETE FROM {p}messages", 0, 0),
    "one in the midst": ("DELETE FROM {p}messages WHERE seq = 3", 3, 2),
    "a turn": ("DELETE FROM {p}messages WHERE seq IN (2, 3)", 2, 2),
    "one, by a count that is high": ("UPDATE {p}sessions SET messages = 7", 6, 3),
    "very many, by a count that is high": ("UPDATE {p}sessions SET messages = 4000000000000000000", 6, 3),
    "one, by a count that is low": ("UPDATE {p}sessions SET messages = 5", 5, 2),
    "two, by a count that is low": ("UPDATE {p}sessions SET messages = 4", 4, 2),
    "all, by a count that is low": ("UPDATE {p}sessions SET messages = 0", 0, 0),
    "all, by a count that is none": ("UPDATE {p}sessions SET messages = -4", 0, 0),
}
"""What happened, the first message that can't be read, and how many turns are left when the last one is undone."""


@pytest.mark.parametrize("what", LOST)
def test_a_count_that_does_not_fit_is_named_and_what_is_sound_is_of_use(
    store: SessionStore, what: str
) -> None:
    change, first, left = LOST[what]
    chat = three_turns(store)
    damage(store, change)
    for attempt in (
        lambda: chat_of(store).send_message("four"),
        chat_of(store).get_history,
        lambda: store.load("ann"),
    ):
        with pytest.raises(DamagedMessage, match=f"message {first} of session 'ann'") as caught:
            attempt()
        assert caught.value.seq == first
    assert [*store.check()]
    if "midst" not in what and "a turn" not in what:
        with pytest.raises(StoreError, match="'ann' is damaged: it counts") as unfit:
            chat.send_message("four")  # which knows the session, and doesn't read it
        assert "UNIQUE" not in str(unfit.value)
        damage(store, change)  # again, for what was sent in vain was taken back
    assert len(chat_of(store).get_messages(end=first)) == first
    chats = ChatManager(Agent(ScriptedModel([])), store)
    chats.import_session(chats.export_session("ann", end=first - first % 2), id="copy")
    assert [info.id for info in chats.list()] == ["copy", "ann"]
    chats.delete_session("copy")
    chat_of(store).undo()
    for _ in range(4):
        if said_or_none(store) is None:
            chat_of(store).undo()
    assert len(said(chat_of(store))) == min(left, first // 2) * 2 and [*store.check()] == []
    assert chat_of(store).send_message("more").text == "to more"
    damage(store, change)
    chat_of(store).clear()
    assert chat_of(store).send_message("more").text == "to more" and [*store.check()] == []
    damage(store, change)
    store.delete("ann")


def test_what_is_added_behind_a_cut_is_refused_if_other_messages_are_there(store: SessionStore) -> None:
    three_turns(store)
    writer = store.write("ann")
    damage(store, "DELETE FROM {p}messages WHERE seq > 1")
    with pytest.raises(StoreError, match="'ann' is damaged: it counts 6 messages"):
        writer.append([Cut(4), added(user_content("four"))])
    assert len(store.load("ann", end=2).messages) == 2
    writer.append([Cut(2), added(user_content("four"))])  # those are there
    writer.append([Cut(3), added(user_content("five"))], release=True)
    assert texts(store, "ann") == ["one", "to one", "four", "five"] and store.check() == []


def test_messages_whose_numbers_are_damaged_go_when_a_chat_is_cleared(store: SessionStore) -> None:
    chat = three_turns(store)
    damage(store, "UPDATE {p}messages SET seq = -3 WHERE seq = 3")
    chat.clear()
    assert [*store.check()] == [] and not store._db.run([("SELECT id FROM {p}messages", ())], write=False)[0]


def test_what_reads_the_end_reads_no_more_however_long_a_chat_is(store: SessionStore) -> None:
    turn = [
        Message(content=user_content("x")),
        Message(content=model_content("y"), usage=Usage(prompt_tokens=3)),
    ]
    store.create("ann", messages=turn * 400, state={"a": 1})
    damage(store, "UPDATE {p}messages SET content = '{' WHERE seq = 5")  # what reads that, says so
    asked: dict[str, Callable[[Chat], Any]] = {
        "pending": lambda chat: chat.pending,
        "state": lambda chat: dict(chat.state),
        "usage": lambda chat: chat.token_usage.current,
        "undo": lambda chat: len(chat.undo()),
        "left": lambda chat: chat.info.messages,
    }
    found = {name: ask(chat_of(store)) for name, ask in asked.items()}
    assert found == {"pending": [], "state": {"a": 1}, "usage": 3, "undo": 2, "left": 798}
    with pytest.raises(DamagedMessage):
        chat_of(store).get_history()


@pytest.mark.parametrize("steps", [1, 31, 32, 33, 300])
def test_the_last_turn_is_undone_however_long_it_is(store: SessionStore, steps: int) -> None:
    call = model_content(call_part("f", {}))
    answer = user_content(response_part({"name": "f", "args": {}}, {"output": 1}))
    turn = [user_content("x"), *[call, answer] * steps, model_content("y")]
    messages = [Message(content=content) for content in turn]
    messages[1] = Message(content=call, usage=Usage(prompt_tokens=7))
    store.create("ann", messages=messages * 3)
    for left in (2, 1, 0):
        chat = chat_of(store)
        assert chat.pending == [] and chat.token_usage.current == 7
        assert chat.undo() == turn and chat.info.messages == left * len(turn)
    assert chat_of(store).undo() == []


def test_a_fork_has_the_state_of_its_place_whoever_forks(store: SessionStore) -> None:
    chat = three_turns(store)
    chat.state = {"turns": 3}
    assert dict(chat_of(store).fork(at=2).state) == dict(chat.fork(at=2).state) == {"last": "two"}
    assert dict(chat_of(store).fork().state) == {"turns": 3}


@pytest.mark.parametrize("kept", [True, False])
def test_a_negative_start_is_a_wrong_argument(store: SessionStore, kept: bool) -> None:
    chat = three_turns(store) if kept else Agent(ScriptedModel([echo])).chat()
    chat.send_message("x")
    with pytest.raises(ConfigurationError, match="start=-2: messages are numbered from 0"):
        chat.get_messages(-2)


def said_or_none(store: SessionStore) -> list[str] | None:
    try:
        return said(chat_of(store))
    except DamagedMessage:
        return None


NO_JSON = ("{", "", "[]", "7", "null", '{"x": 1e999}')


@pytest.mark.parametrize("state", NO_JSON)
def test_a_damaged_state_is_named_and_what_was_said_is_of_use(store: SessionStore, state: str) -> None:
    three_turns(store)
    damage(store, "UPDATE {p}states SET state = ? WHERE seq = 4", state)
    for attempt in (
        lambda: chat_of(store).send_message("four"),
        lambda: chat_of(store).state,
        lambda: store.load("ann").state,
        chat_of(store).fork,
    ):
        with pytest.raises(StoreError, match="is damaged: the state of session 'ann' can't be read"):
            attempt()
    assert any("state" in problem and "'ann'" in problem for problem in store.check())
    assert said(chat_of(store))[-1] == "to three" and len(store.load("ann").messages) == 6
    chats = ChatManager(Agent(ScriptedModel([])), store)
    assert "to three" in chats.export_session("ann", "markdown")
    chats.import_session(chats.export_session("ann", end=2), id="copy")
    chat_of(store).state = {"last": "anew"}
    assert chat_of(store).send_message("four").text == "to four"
    assert [*chat_of(store).undo()] and chat_of(store).state == {"last": "anew"}
    damage(store, "UPDATE {p}states SET state = ? WHERE seq = 6", state)
    chat_of(store).undo()
    damage(store, "UPDATE {p}states SET state = ?", state)
    assert said(chat_of(store))[-1] == "to two"
    chat_of(store).undo()
    chat_of(store).clear()
    store.delete("ann")


def test_a_damaged_summary_is_none_and_a_damaged_usage_counts_nothing(store: SessionStore) -> None:
    three_turns(store)
    changes: list[tuple[str, tuple[Any, ...]]] = [("upto = 99", ()), ("upto = -1", ())]
    if is_sqlite(store):
        changes.append(("upto = 2, text = CAST(? AS TEXT)", (b"\xff",)))
    for change, values in changes:
        writer = store.write("ann")
        writer.append([SaveSummary(2, "One.")], release=True)
        damage(store, f"UPDATE {{p}}summaries SET {change}", *values)
        assert store.load("ann").summary is None
        assert any("summary" in problem and "'ann'" in problem for problem in store.check())
        assert chat_of(store).send_message("four").text == "to four"
        chat_of(store).undo()
    damage(store, "DELETE FROM {p}summaries")
    damage(store, "UPDATE {p}messages SET usage = '{' WHERE seq = 3")
    assert any("message 3" in problem for problem in store.check())
    assert store.load("ann").messages[3].usage is None and chat_of(store).send_message("four").text
    chat_of(store).clear()
    assert [*store.check()] == []


@pytest.mark.parametrize("column", ["metadata", "files", "cleared", "given"])
def test_what_is_damaged_beside_a_content_is_named_and_can_be_cut(store: SessionStore, column: str) -> None:
    three_turns(store)
    damage(store, f"UPDATE {{p}}messages SET {column} = '{{' WHERE seq = 4")
    with pytest.raises(DamagedMessage, match=f"message 4 of session 'ann' can't be read .its .*{column}.*: "):
        chat_of(store).get_history()
    assert any("message 4" in problem for problem in store.check())
    assert len(chat_of(store).get_messages(end=4)) == 4
    chat_of(store).undo()
    assert said(chat_of(store))[-1] == "to two" and [*store.check()] == []


@pytest.mark.parametrize("change", ["args = '{'", "deferred = '[]'", "name = 'x'", "effect = 'x'"])
def test_a_damaged_ledger_is_named_and_what_was_said_is_of_use(store: SessionStore, change: str) -> None:
    three_turns(store)
    writer = store.write("ann")
    writer.append([added(ASK), added(CALL, LEDGER)], release=True)
    damage(store, f"UPDATE {{p}}calls SET {change} WHERE number = 0")
    for attempt in (lambda: chat_of(store).pending, chat_of(store).resume):
        with pytest.raises(StoreError, match="ledger of session 'ann'"):
            attempt()
    assert any("'ann'" in problem and re.search("ledger|open calls", problem) for problem in store.check())
    assert said(chat_of(store))[-1] == ASK["parts"][0]["text"]
    assert len(chat_of(store).undo()) == 2
    assert chat_of(store).send_message("four").text == "to four" and [*store.check()] == []
