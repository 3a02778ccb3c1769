"""What every store does; see `agentkit.stores.base`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentkit.chats.own_session import OwnSession
from agentkit.errors import (
    ConfigurationError,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
)
from agentkit.limits import Usage
from agentkit.stores import _values
from agentkit.stores.base import (
    AddUsage,
    Cut,
    DeferCall,
    EditCall,
    FinishCall,
    HoldCall,
    Message,
    SaveFiles,
    SaveGiven,
    SaveResult,
    SaveState,
    SaveSummary,
    StartCalls,
    Step,
    StoredResult,
    StoredSummary,
)
from agentkit.stores.sqlite import MemoryStore
from agentkit.stores.store import SessionStore
from agentkit.wire.content import Content, model_content, response_part, user_content
from tests.helpers.stored_chats import ASK, CALL, LEDGER, NOON, RAIN, added, made, say, texts, with_calls
from tests.helpers.until import PATIENCE
from tests.stores.conftest import STORES

# -- sessions


def test_a_session_is_what_it_was_made_with(store: SessionStore) -> None:
    before = time.time()
    info = store.create("ann", model="m", instructions="Be kind.", title="T", expires=5, parent="eve")
    assert info == store.info("ann") == store.load("ann").info
    assert (info.id, info.model, info.instructions, info.title) == ("ann", "m", "Be kind.", "T")
    assert (info.expires, info.parent, info.messages, info.usage) == (5.0, "eve", 0, Usage())
    assert before <= info.created == info.updated <= time.time()
    session = store.load("ann")
    assert (list(session.messages), list(session.calls), session.summary) == ([], [], None)


def test_what_a_session_was_not_given_is_none(store: SessionStore) -> None:
    info = store.create("ann")
    assert (info.model, info.instructions, info.title, info.expires, info.parent) == (None,) * 5


def test_an_id_is_taken_once(store: SessionStore) -> None:
    made(store, "kept")
    with pytest.raises(SessionExists, match="'ann'"):
        store.create("ann", title="other")
    assert texts(store, "ann") == ["kept"]
    assert store.info("ann").title is None


def test_any_text_is_an_id(store: SessionStore) -> None:
    ids = ["ann", "Ann", " ", "a/../b", "'; DROP TABLE x; --", "é", "e\u0301", "漢字", "x" * 200]
    ids += ["a\0b", "a\0c", "\ud800", "\udfff", "?", "%", "🦉", "\n"]
    for id in ids:
        store.create(id, title=id, parent=id)
    for id in ids:
        info = store.info(id)
        assert (info.id, info.parent) == (id, id)
        writer = store.write(id)
        say(writer, "x")
        writer.release()
        assert store.load(id).info.messages == 1
    assert sorted(info.id for info in store.list(limit=100)) == sorted(ids)


@pytest.mark.parametrize("id", ["", "x" * 201, 7, None])
def test_what_is_no_id_is_refused(store: SessionStore, id: Any) -> None:
    with pytest.raises(ConfigurationError, match="id"):
        store.create(id)
    assert list(store.list()) == []


def test_what_is_not_there_is_not_found(store: SessionStore) -> None:
    tries: list[Callable[[], object]] = [
        lambda: store.load("nobody"),
        lambda: store.info("nobody"),
        lambda: store.result("nobody", "r"),
        lambda: store.results("nobody"),
        lambda: store.write("nobody"),
        lambda: store.rename("nobody", "x"),
        lambda: store.expire("nobody", 1.0),
        lambda: store.delete("nobody"),
        lambda: store.load(""),
    ]
    for attempt in tries:
        with pytest.raises(SessionNotFound):
            attempt()


def test_a_session_may_begin_with_messages(store: SessionStore) -> None:
    begin = [
        Message(content=ASK, created=1.5),
        Message(
            content=model_content("Rain."),
            created=2.25,
            usage=Usage(requests=1, total_tokens=7),
            finish_reason="STOP",
        ),
    ]
    info = store.create("ann", messages=begin)
    assert (info.messages, info.usage) == (2, Usage(requests=1, total_tokens=7))
    assert list(store.load("ann").messages) == begin
    assert [hit.seq for hit in store.search("rain")] == [1]


def test_a_session_that_cannot_begin_is_not_made(store: SessionStore) -> None:
    bad = [Message(content={"role": "user", "parts": [object()]}, created=1.0)]  # type: ignore[list-item]
    with pytest.raises(StoreError):
        store.create("ann", messages=bad)
    assert list(store.list()) == []


def test_a_title_can_be_given_and_taken(store: SessionStore) -> None:
    first = store.create("ann")
    store.rename("ann", "Weather \ud800 \0 🦉")
    renamed = store.info("ann")
    assert renamed.title is not None and renamed.title.startswith("Weather ")
    assert (renamed.updated, renamed.created) == (first.updated, first.created)
    assert renamed.version > first.version
    store.rename("ann", None)
    assert store.info("ann").title is None


def test_deleting_takes_all_that_belongs_to_a_session(store: SessionStore) -> None:
    writer = with_calls(store)
    writer.append([SaveSummary(1, "old"), StartCalls([0]), SaveResult("r", "whole")])
    made(store, "weather here too", id="eve")
    store.delete("ann")
    assert [hit.session_id for hit in store.search("weather")] == ["eve"]
    assert [info.id for info in store.list()] == ["eve"]
    store.create("ann")
    session = store.load("ann")
    assert (list(session.messages), list(session.calls), session.summary) == ([], [], None)
    assert list(store.results("ann")) == [] and store.result("ann", "r") is None


def test_what_has_expired_is_deleted_when_asked(store: SessionStore) -> None:
    store.create("past", expires=99.0)
    store.create("now", expires=100.0)
    store.create("later", expires=100.5)
    store.create("never")
    store.create("changed", expires=5.0)
    store.expire("changed", None)
    assert store.delete_expired(100.0) == 2
    assert sorted(info.id for info in store.list()) == ["changed", "later", "never"]
    store.expire("never", 1.0)
    assert store.delete_expired(100.0) == 1
    assert store.delete_expired(100.0) == 0


# -- messages


def test_messages_come_back_in_order_with_what_they_cost(store: SessionStore) -> None:
    writer = made(store)
    before = time.time()
    writer.append([added(ASK)])
    cost = Usage(requests=1, prompt_tokens=3, candidates_tokens=4, total_tokens=7, estimated=True)
    writer.append([added(model_content("Rain."), usage=cost, finish_reason="STOP")])
    writer.append([added(ASK, created=12.5)])
    session = store.load("ann")
    assert [m.content for m in session.messages] == [ASK, model_content("Rain."), ASK]
    assert [m.usage for m in session.messages] == [None, cost, None]
    assert [m.finish_reason for m in session.messages] == [None, "STOP", None]
    assert before <= (session.messages[0].created or 0) <= (session.messages[1].created or 0) <= time.time()
    assert session.messages[2].created == 12.5
    assert session.info.messages == 3 and session.info.usage == cost
    assert session == store.load("ann")


@pytest.mark.parametrize(
    "part",
    [
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": "a\0b\u2028\u202e é 漢 🦉 \\ \" ' \x7f"},
        {"inlineData": {"mimeType": "image/png", "data": "aGk=" * 3000}},
        {"text": "hm", "thought": True},
        {"someNewKind": {"deep": [1, 2.5, None, True, {"x": []}]}, "thoughtSignature": "s"},
        {"functionCall": {"name": "f", "args": {"big": 2**70, "small": 5e-324, "minus": -0.0}}},
    ],
)
def test_a_content_comes_back_as_it_was(store: SessionStore, part: Any) -> None:
    content: Content = {"role": "model", "parts": [part]}
    made(store).append([added(content)])
    assert repr(dict(store.load("ann").messages[0].content)) == repr(content)


def test_text_that_is_no_unicode_breaks_nothing(store: SessionStore) -> None:
    writer = made(store, "torn \ud83d emoji", "nul \0 byte")
    writer.append([SaveSummary(1, "sum \udfff \0")])
    session = store.load("ann")
    assert session.messages[0].content == user_content("torn ? emoji")
    assert session.messages[1].content == user_content("nul \0 byte")
    assert session.summary is not None and session.summary.text.startswith("sum ")
    assert [hit.seq for hit in store.search("emoji")] == [0]
    assert [hit.seq for hit in store.search("byte")] == [1]


def test_what_a_caller_changes_stays_the_callers(store: SessionStore) -> None:
    mine = user_content("before")
    answer = response_part({"name": "weather", "id": "c1"}, {"output": {"x": 1}})
    writer = made(store)
    writer.append([added(mine), added(CALL, calls=LEDGER), FinishCall(0, answer)])
    mine["parts"].append({"text": "after"})
    answer["functionResponse"]["response"]["output"]["x"] = 2
    for _ in range(2):
        session = store.load("ann")
        assert session.messages[0].content == user_content("before")
        response = session.calls[0].response
        assert response and response["functionResponse"]["response"] == {"output": {"x": 1}}
        session.messages[0].content["parts"].clear()
        response["functionResponse"]["response"].clear()


def test_a_cut_removes_messages_but_not_what_they_cost(store: SessionStore) -> None:
    writer = made(store, "a")
    writer.append([added(model_content("b"), usage=Usage(total_tokens=5))])
    say(writer, "c", "d")
    writer.append([Cut(1)])
    assert texts(store, "ann") == ["a"]
    assert store.info("ann").usage.total_tokens == 5
    assert list(store.search("d")) == []
    say(writer, "e")
    assert texts(store, "ann") == ["a", "e"]
    writer.append([Cut(0)])
    assert texts(store, "ann") == [] and store.info("ann").messages == 0


def test_messages_can_be_replaced_in_one_go(store: SessionStore) -> None:
    writer = made(store, "a", "b", "c")
    writer.append([Cut(1), added(user_content("x")), Cut(2), added(user_content("y")), Cut(2)])
    assert texts(store, "ann") == ["a", "x"]
    writer.append([Cut(0), added(user_content("z"))])
    assert texts(store, "ann") == ["z"]


def test_usage_adds_up_whatever_it_belongs_to(store: SessionStore) -> None:
    writer = made(store, "a")
    updated = store.info("ann").updated
    writer.append([AddUsage(Usage(requests=2, total_tokens=2**70)), AddUsage(Usage(estimated=True))])
    info = store.info("ann")
    assert info.usage == Usage(requests=2, total_tokens=2**70, estimated=True)
    assert info.updated == updated and info.messages == 1


def test_what_a_message_is_given_may_be_said_anew(reopen: Callable[[], SessionStore]) -> None:
    store = reopen()
    store.create("ann", messages=[Message(content=ASK, given={"instructions": "first"})])
    writer = store.write("ann")
    writer.append([SaveGiven(0, {"instructions": "é", "again": ["deps"]})])
    assert reopen().load("ann").messages[0].given == {"instructions": "é", "again": ["deps"]}
    with pytest.raises(StoreError, match="doesn't fit"):
        writer.append([SaveGiven(1, None)])
    writer.append([SaveGiven(0, None)], release=True)
    assert reopen().load("ann").messages[0].given is None


# -- the ledger


def test_the_ledger_has_the_calls_of_the_last_message(store: SessionStore) -> None:
    writer = with_calls(store)
    assert list(store.load("ann").calls) == list(LEDGER)
    writer.append([StartCalls([0, 1])])
    assert [call.started for call in store.load("ann").calls] == [True, True]
    writer.append([FinishCall(1, NOON)])
    assert [call.response for call in store.load("ann").calls] == [None, NOON]
    writer.append([StartCalls([0], started=False)])
    assert [call.started for call in store.load("ann").calls] == [False, True]
    assert [call.call_id for call in store.load("ann").calls] == ["run-1-0", "run-1-1"]
    writer.append([FinishCall(0, RAIN)])
    assert [call.response for call in store.load("ann").calls] == [RAIN, NOON]


def test_the_next_message_clears_the_ledger(store: SessionStore) -> None:
    writer = with_calls(store)
    writer.append([added({"role": "user", "parts": [RAIN, NOON]})])
    assert list(store.load("ann").calls) == []
    writer.append([added(CALL, calls=LEDGER[:1]), Cut(2)])
    assert list(store.load("ann").calls) == []


def test_an_entry_of_the_ledger_may_come_with_its_response(store: SessionStore) -> None:
    entries = [replace(LEDGER[0], started=True, response=RAIN), LEDGER[1]]
    made(store).append([added(ASK), added(CALL, calls=entries)])
    assert list(store.load("ann").calls) == entries


def test_a_call_may_wait_for_a_result_from_elsewhere(store: SessionStore) -> None:
    writer = with_calls(store)
    state = {"kind": "approval", "args": {"city": "Oslo", "deep": [1, 2.5, None, True, "é \0 🦉"]}}
    writer.append([StartCalls([0, 1])])
    writer.append([DeferCall(0, state), DeferCall(1, {})])
    waiting = [replace(LEDGER[0], deferred=state), replace(LEDGER[1], deferred={})]
    assert list(store.load("ann").calls) == waiting
    writer.append([DeferCall(1, {"again": 1}), StartCalls([0])])
    first, second = store.load("ann").calls
    assert (first.started, first.deferred) == (True, state)
    assert (second.started, second.deferred) == (False, {"again": 1})
    writer.append([FinishCall(0, RAIN)])
    first, _ = store.load("ann").calls
    assert (first.response, first.deferred) == (RAIN, state)
    writer.append([added({"role": "user", "parts": [RAIN, NOON]})])
    assert list(store.load("ann").calls) == []


def test_an_entry_of_the_ledger_may_come_with_what_it_waits_for(store: SessionStore) -> None:
    entries = [replace(LEDGER[0], deferred={"until": "noon"}), LEDGER[1]]
    made(store).append([added(ASK), added(CALL, calls=entries)])
    assert list(store.load("ann").calls) == entries


def test_what_a_call_waits_for_stays_as_it_was_stored(store: SessionStore) -> None:
    mine: dict[str, Any] = {"list": [1]}
    with_calls(store).append([DeferCall(0, mine)])
    mine["list"].append(2)
    for _ in range(2):
        deferred = store.load("ann").calls[0].deferred
        assert deferred == {"list": [1]}
        deferred["list"].clear()


@pytest.mark.parametrize(
    "step",
    [
        StartCalls([2]),
        StartCalls([0, -1]),
        StartCalls([1]),
        FinishCall(1, NOON),
        FinishCall(7, NOON),
        Cut(3),
        Cut(-1),
        SaveSummary(3, "x"),
        added({"role": "user", "parts": [{"text": float("nan")}]}),  # type: ignore[typeddict-item]
        added({"role": "user", "parts": [{"x": {1, 2}}]}),  # type: ignore[typeddict-unknown-key]
        added({"parts": []}),  # type: ignore[typeddict-item]
        added(None),  # type: ignore[arg-type]
        added(ASK, metadata={"x": {1}}),
        added(ASK, sender_id="x" * 201),
        added(ASK, sender_id=""),
        EditCall(0, {"x": float("nan")}),
        EditCall(1, {}),
        SaveState({"x": {1}}),
        SaveState([]),  # type: ignore[arg-type]
        FinishCall(0, {"functionResponse": {"name": "weather", "response": {"output": float("inf")}}}),
        FinishCall(0, None),  # type: ignore[arg-type]
        DeferCall(1, {}),
        DeferCall(2, {}),
        DeferCall(0, {"x": float("nan")}),
        DeferCall(0, {"x": {1, 2}}),
        DeferCall(0, [1]),  # type: ignore[arg-type]
        DeferCall(0, None),  # type: ignore[arg-type]
        added(CALL, calls=[replace(LEDGER[0], deferred={"x": {1, 2}})]),
        SaveResult("", "x"),
        SaveResult("x" * 201, "x"),
    ],
    ids=repr,
)
def test_a_step_that_does_not_fit_stores_nothing_of_its_list(store: SessionStore, step: Step) -> None:
    writer = with_calls(store)
    writer.append([FinishCall(1, NOON)])
    before = store.load("ann")
    steps: list[Step] = [AddUsage(Usage(total_tokens=1)), SaveSummary(1, "sum"), StartCalls([0])]
    steps += [SaveResult("r", "whole"), DeferCall(0, {"x": 1})]
    with pytest.raises(StoreError) as caught:
        writer.append([*steps, step])
    assert not isinstance(caught.value, SessionConflict)
    assert store.load("ann") == before and list(store.results("ann")) == []
    writer.append(steps)
    assert store.load("ann") != before and store.result("ann", "r") == "whole"


# -- results


def saved(store: SessionStore) -> list[tuple[str, int, str]]:
    return sorted((result.id, result.seq, result.text) for result in store.results("ann"))


def test_a_result_belongs_to_the_message_that_comes_next(store: SessionStore) -> None:
    writer = made(store, "a")
    info = store.info("ann")
    writer.append([SaveResult("x", "whole x")])
    assert saved(store) == [("x", 1, "whole x")]
    assert (store.info("ann").version, store.info("ann").updated) == (info.version + 1, info.updated)
    writer.append([SaveResult("y", ""), added(user_content("b")), SaveResult("z", "whole z")])
    assert saved(store) == [("x", 1, "whole x"), ("y", 1, ""), ("z", 2, "whole z")]
    assert [result.seq for result in store.results("ann")] == [1, 1, 2]
    assert [store.result("ann", id) for id in ("x", "y", "z", "X", "")] == [
        "whole x",
        "",
        "whole z",
        None,
        None,
    ]


def test_a_result_of_the_same_id_takes_the_place_of_the_first(store: SessionStore) -> None:
    writer = made(store, "a")
    writer.append([SaveResult("x", "one"), SaveResult("x", "two")])
    assert saved(store) == [("x", 1, "two")]
    say(writer, "b", "c")
    writer.append([SaveResult("x", "three")])
    assert saved(store) == [("x", 3, "three")]
    writer.append([SaveResult("x", "four"), Cut(2)])  # the first ones don't come back
    assert saved(store) == []


def test_a_cut_removes_the_results_of_its_messages(store: SessionStore) -> None:
    writer = made(store)
    for n in range(4):
        writer.append([SaveResult(f"r{n}", "whole"), added(user_content(f"m{n}"))])
    writer.append([SaveResult("next", "whole")])
    writer.append([Cut(4)])
    assert [id for id, *_ in saved(store)] == ["r0", "r1", "r2", "r3"]
    writer.append([Cut(2), SaveResult("r3", "new"), added(user_content("m")), Cut(3)])
    assert saved(store) == [("r0", 0, "whole"), ("r1", 1, "whole"), ("r3", 2, "new")]
    writer.append([Cut(0)])
    assert saved(store) == []


ODD_TEXTS = [
    "",
    "\0",
    "a\0b\0",
    "torn \ud83d",
    "\udfff\ud800",
    "\\",
    "\\x00",
    "\r\n\u2028",
    "é 漢 🦉 \" ' % ?",
]


def test_any_text_is_a_result_and_any_short_one_its_id(store: SessionStore) -> None:
    writer = made(store, "a")
    ids = [*ODD_TEXTS[1:], "x" * 200, "".join(map(chr, range(0xD800, 0xD800 + 200))), "'; DROP TABLE x; --"]
    writer.append([SaveResult(id, text) for id in ids for text in (*ODD_TEXTS, id)])
    assert saved(store) == [(id, 1, id) for id in sorted(ids)]
    for text in ODD_TEXTS:
        writer.append([SaveResult("r", text)])
        assert store.result("ann", "r") == text
    made(store, id="\ud800" * 200).append([SaveResult(id, id) for id in ids])
    assert [store.result("\ud800" * 200, id) for id in ids] == ids


def test_a_result_may_be_some_megabytes(store: SessionStore) -> None:
    text = "\0 é \\ \ud800 many words " * 200_000
    made(store, "a").append([SaveResult("r", text), added(user_content("b"))])
    assert store.result("ann", "r") == text
    assert texts(store, "ann") == ["a", "b"]


def test_a_result_that_is_too_long_for_a_database_is_refused(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_values, "MAX_RESULT", 10)
    writer = made(store, "a")
    writer.append([SaveResult("r", "x" * 10)])
    with pytest.raises(StoreError, match="11 characters, more than 10"):
        writer.append([SaveResult("r", "y" * 11)])
    assert store.result("ann", "r") == "x" * 10


def test_a_search_finds_no_results(store: SessionStore) -> None:
    made(store, "a cat").append([SaveResult("dog", "a dog, a cat"), added(user_content("a cow"))])
    assert list(store.search("dog")) == []
    assert [hit.seq for hit in store.search("cat")] == [0]


def test_results_are_of_their_session_only(store: SessionStore) -> None:
    made(store, "a", id="eve").append([SaveResult("r", "eve's")])
    made(store, "a").append([SaveResult("r", "ann's")])
    assert (store.result("eve", "r"), store.result("ann", "r")) == ("eve's", "ann's")
    store.delete("ann")
    assert store.result("eve", "r") == "eve's"


def test_a_session_may_begin_with_results(store: SessionStore) -> None:
    begin = [Message(content=user_content(str(n)), created=1.0) for n in range(3)]
    results = [StoredResult(id=f"r{n}", seq=n % 3, text=f"\0 {n}") for n in range(5)]
    info = store.create("ann", messages=begin, results=results)
    assert info.messages == 3
    assert sorted(store.results("ann"), key=lambda result: result.id) == results
    store.write("ann").append([Cut(1)])
    assert [result.id for result in store.results("ann")] == ["r0", "r3"]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([("r", 1)], r"results\[0\]: it belongs to message 1; there are 1"),
        ([("r", -1)], "message -1"),
        ([("r", 0.0)], "message 0.0"),
        ([("r", True)], "message True"),
        ([("r", 0), ("s", 0), ("r", 0)], r"results\[2\]: its id 'r' is that of one before"),
        ([("r", 0), ("", 0)], r"results\[1\]: its id has 1 to 200 characters, not 0"),
        ([("x" * 201, 0)], "not 201"),
    ],
)
def test_results_to_begin_with_fit_the_messages(store: SessionStore, results: Any, words: str) -> None:
    begin = [Message(content=ASK, created=1.0)]
    with pytest.raises(StoreError, match=words):
        store.create(
            "ann", messages=begin, results=[StoredResult(id=id, seq=seq, text="") for id, seq in results]
        )
    assert list(store.list()) == []


# -- summaries


def test_the_newest_summary_that_fits_is_kept(store: SessionStore) -> None:
    writer = made(store, "a", "b", "c", "d")
    writer.append([SaveSummary(1, "one")])
    writer.append([SaveSummary(3, "three")])
    assert store.load("ann").summary == StoredSummary(upto=3, text="three")
    writer.append([Cut(3)])
    assert store.load("ann").summary == StoredSummary(upto=3, text="three")
    writer.append([Cut(2)])
    assert store.load("ann").summary == StoredSummary(upto=1, text="one")
    say(writer, "c", "d")
    assert store.load("ann").summary == StoredSummary(upto=1, text="one")
    writer.append([SaveSummary(1, "one, better"), SaveSummary(1, "one, best")])
    assert store.load("ann").summary == StoredSummary(upto=1, text="one, best")
    writer.append([Cut(0)])
    assert store.load("ann").summary is None


# -- versions


def test_the_version_counts_steps(store: SessionStore) -> None:
    writer = made(store)
    start = store.info("ann").version
    say(writer, "a", "b")
    assert store.info("ann").version == start + 2
    writer.append([])
    assert store.info("ann").version == start + 2
    writer.append([AddUsage(Usage(total_tokens=1)), Cut(2), Cut(1)])
    assert store.info("ann").version == start + 5
    writer.release()
    assert store.write("ann").info.version == start + 5


def test_a_writer_that_missed_a_change_never_has_the_version_of_what_is_there(store: SessionStore) -> None:
    writer = made(store, "a")
    store.rename("ann", "renamed")
    say(writer, "b")
    writer.release()
    later = store.write("ann", seen=writer.info.version)
    assert later.session is not None and later.session.info.title == "renamed"
    assert later.info.version > writer.info.version and len(later.session.messages) == 2


def test_a_clock_that_goes_back_changes_no_order(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = made(store)
    for n in range(3):
        monkeypatch.setattr(time, "time", lambda n=n: 1000.0 - n)
        say(writer, f"{n}")
    assert texts(store, "ann") == ["0", "1", "2"] and writer.info.messages == 3
    with pytest.raises(SessionConflict):
        store.write("ann")
    writer.release()
    store.write("ann").release()
    assert store.info("ann").updated == 998.0 < store.info("ann").created


def test_a_session_made_anew_has_another_version(store: SessionStore) -> None:
    seen = set()
    for _ in range(5):
        made(store, "a", "b").release()
        seen.add(store.info("ann").version)
        store.delete("ann")
    assert len(seen) == 5


# -- one writer at a time


def test_a_session_has_one_writer(store: SessionStore) -> None:
    first = made(store, "a")
    with pytest.raises(SessionConflict, match=r"'ann' is being written by .*wait="):
        store.write("ann")
    made(store, "x", id="eve")
    say(first, "b")
    first.release()
    second = store.write("ann")
    assert second.info == store.info("ann") and second.info.messages == 2
    say(second, "c")
    assert texts(store, "ann") == ["a", "b", "c"]


def test_a_writer_that_was_released_writes_no_more(store: SessionStore) -> None:
    first = made(store, "a")
    first.release()
    with pytest.raises(SessionConflict):
        say(first, "late")
    second = store.write("ann")
    with pytest.raises(SessionConflict):
        say(first, "late")
    first.release()  # is not the second's
    with pytest.raises(SessionConflict):
        store.write("ann")
    say(second, "b")
    assert texts(store, "ann") == ["a", "b"]


def test_a_deleted_session_takes_its_writer_along(store: SessionStore) -> None:
    writer = made(store, "a")
    store.delete("ann")
    with pytest.raises(SessionConflict):
        say(writer, "b")
    store.create("ann")
    with pytest.raises(SessionConflict):
        say(writer, "b")
    assert texts(store, "ann") == []
    store.write("ann")
    writer.release()
    with pytest.raises(SessionNotFound):
        store.load("eve")


def test_releasing_never_raises(store: SessionStore) -> None:
    writer = made(store)
    writer.release()
    writer.release()
    writer = store.write("ann")
    store.delete("ann")
    writer.release()
    writer = made(store)
    store.close()
    writer.release()


def test_who_waits_writes_when_the_other_is_done(store: SessionStore) -> None:
    first = made(store, "a")

    def late() -> list[str]:
        writer = store.write("ann", wait=30)
        found = [m.content["parts"][0]["text"] for m in store.load("ann").messages]
        say(writer, "c")
        writer.release()
        return found

    with ThreadPoolExecutor() as threads:
        second = threads.submit(late)
        time.sleep(0.05)
        say(first, "b")
        first.release()
        assert second.result(timeout=PATIENCE) == ["a", "b"]
    assert texts(store, "ann") == ["a", "b", "c"]


def test_who_waits_in_vain_is_told_so(store: SessionStore) -> None:
    writer = made(store)
    before = time.monotonic()
    with pytest.raises(SessionConflict):
        store.write("ann", wait=0.2)
    assert time.monotonic() - before >= 0.2
    say(writer, "a")


def test_who_waits_for_a_session_that_is_deleted_is_told_so(store: SessionStore) -> None:
    writer = made(store)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.write, "ann", wait=30)
        time.sleep(0.05)
        store.delete("ann")
        with pytest.raises(SessionNotFound):
            waiting.result(timeout=PATIENCE)
    writer.release()


def test_a_step_may_come_from_any_thread(store: SessionStore) -> None:
    store.create("shared")
    start = threading.Barrier(6)

    def work(name: str) -> None:
        start.wait()
        own = made(store, id=name)
        for n in range(8):
            say(own, f"{name} {n}")
            writer = store.write("shared", wait=60)
            say(writer, name)
            writer.append([added(model_content(name))])
            writer.release()

    names = [f"thread{n}" for n in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, names))
    for name in names:
        assert texts(store, name) == [f"{name} {n}" for n in range(8)]
    shared = texts(store, "shared")
    assert shared[::2] == shared[1::2] and sorted(shared[::2]) == sorted(names * 8)


# -- the same store from elsewhere


def test_what_was_stored_is_there_when_opened_again(reopen: Callable[[], SessionStore]) -> None:
    first = reopen()
    writer = with_calls(first)
    writer.append([SaveSummary(1, "s"), StartCalls([1]), FinishCall(0, RAIN)])
    writer.append([DeferCall(1, {"x": 1}), SaveResult("r", "whole \0 \ud800")])
    before = first.load("ann")
    first.close()
    second = reopen()
    assert second.load("ann") == before and before.calls[1].deferred == {"x": 1}
    assert second.result("ann", "r") == "whole \0 \ud800"
    assert [hit.seq for hit in second.search("weather")] == [0]
    say(second.write("ann"), "goes on")  # closing released the writer


def test_a_session_has_one_writer_wherever_it_is_opened(reopen: Callable[[], SessionStore]) -> None:
    one, other = reopen(), reopen()
    first = made(one, "a")
    assert texts(other, "ann") == ["a"]
    with pytest.raises(SessionConflict):
        other.write("ann")
    first.release()
    second = other.write("ann")
    with pytest.raises(SessionConflict):
        say(first, "late")
    say(second, "b")
    assert texts(one, "ann") == ["a", "b"]
    with pytest.raises(SessionConflict):
        one.write("ann", wait=0.1)


def test_a_closed_store_says_so(reopen: Callable[[], SessionStore]) -> None:
    with reopen() as store:
        writer = made(store)
    store.close()
    for attempt in (lambda: store.load("ann"), lambda: say(writer, "x"), lambda: store.create("b")):
        with pytest.raises(StoreError, match="closed"):
            attempt()


# -- any steps at all

_CONTENTS: Sequence[Content] = (ASK, CALL, model_content("Rain, again."), user_content("and snow?"))
FILE = {"part": 0, "uri": "https://files/1", "mimeType": "text/plain"}
_STEPS = st.one_of(
    st.sampled_from(_CONTENTS[2:]).map(added),
    st.just(added(ASK, usage=Usage(requests=1, total_tokens=3), finish_reason="STOP")),
    st.sampled_from([LEDGER, LEDGER[:1], ()]).map(lambda calls: added(CALL, calls=calls)),
    st.builds(StartCalls, st.lists(st.integers(0, 1), max_size=2), st.booleans()),
    st.builds(FinishCall, st.integers(0, 1), st.sampled_from([RAIN, NOON])),
    st.builds(Cut, st.integers(0, 4)),
    st.builds(SaveSummary, st.integers(0, 4), st.sampled_from(["s1", "s2"])),
    st.just(AddUsage(Usage(total_tokens=2))),
    st.builds(DeferCall, st.integers(0, 1), st.sampled_from([{}, {"x": 1}])),
    st.builds(SaveResult, st.sampled_from(["a", "b", "c"]), st.sampled_from(["t1", "t2"])),
    st.builds(HoldCall, st.integers(0, 1), st.sampled_from([None, "Is it right?"]), st.just("tool")),
    st.builds(EditCall, st.integers(0, 1), st.just({"city": "Rome"})),
    st.builds(SaveState, st.sampled_from([{}, {"cart": ["tea"]}, {"cart": []}])),
    st.builds(SaveGiven, st.integers(0, 4), st.sampled_from([None, {"instructions": "Be kind."}])),
    st.builds(SaveFiles, st.integers(0, 4), st.sampled_from([[], [FILE]])),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.lists(st.lists(_STEPS, max_size=5), max_size=8))
def test_all_stores_do_the_same(kind: str, tmp_path: Path, lists: list[list[Step]]) -> None:
    with STORES[kind](tmp_path) as store:
        model = MemoryStore()
        with_calls(model).release()
        if any(info.id == "ann" for info in store.list()):
            store.delete("ann")
        with_calls(store).release()
        compare(store, model, lists)


@settings(max_examples=100, deadline=None)
@given(lists=st.lists(st.lists(_STEPS, max_size=5), max_size=8))
@example(lists=[[SaveFiles(1, [FILE]), Cut(1), added(_CONTENTS[3])]])
def test_a_chat_without_a_store_keeps_what_a_store_would(lists: list[list[Step]]) -> None:
    own, model = OwnSession(), MemoryStore()
    own.create("ann")
    model.create("ann")
    compare(own, model, [[added(ASK), added(CALL, LEDGER)], *lists])


def compare(store: SessionStore | OwnSession, model: SessionStore, lists: list[list[Step]]) -> None:
    """Take steps in two stores, and look each time whether both have come to the same."""
    mine, theirs = store.write("ann"), model.write("ann")
    for steps in lists:
        outcomes = []
        for writer in (mine, theirs):
            try:
                writer.append(steps)
                outcomes.append("stored")
            except StoreError:
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1]
        assert comparable(store) == comparable(model)
    if isinstance(store, SessionStore):
        assert found(store) == found(model)


def comparable(store: SessionStore | OwnSession) -> Any:
    session = store.load("ann")
    info = session.info
    return (
        [replace(message, created=None, files=[*message.files]) for message in session.messages],
        list(session.calls),
        session.summary,
        session.state,
        list(store.results("ann")),
        (info.messages, info.usage),
    )


def found(store: SessionStore) -> list[tuple[int, str]]:
    return sorted((hit.seq, hit.role) for hit in store.search("snow rain"))


def test_sessions_are_listed_by_how_their_ids_begin(store: SessionStore) -> None:
    ids = ["a", "a/1", "a/2", "a/\U0010ffff", "a0", "b/1", "a\\1", "\ud7ff1", "\ue0001", "%", "_1"]
    for id in ids:
        store.create(id)
    for prefix in ("", "a", "a/", "a/1", "a\\", "A", "b", "%", "_", "a/\U0010ffff", "\U0010ffff", "\ud7ff"):
        found = [info.id for info in store.list(prefix=prefix)]
        assert sorted(found) == sorted(id for id in ids if id.startswith(prefix)), prefix
    first = store.list(prefix="a/", limit=2)
    rest = store.list(prefix="a/", limit=2, after=first[-1])
    assert [info.id for info in (*first, *rest)] == ["a/\U0010ffff", "a/2", "a/1"]
