"""What an archive lets in and out: what is read is sound, what is saved can be read, files stay as they were."""

from __future__ import annotations

import copy
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, ChatManager, MemoryStore, StoreError, Tool
from agentkit.chats.chat import Chat
from agentkit.errors import StoreVersionError
from agentkit.limits import Usage
from agentkit.stores import _values
from agentkit.stores._values import encode_usage
from agentkit.stores.archive import (
    from_archive,
    parse_archive,
    read_archive,
    to_archive,
    to_markdown,
    write_archive,
)
from agentkit.stores.base import (
    Message,
    SaveResult,
    SessionInfo,
    StartCalls,
)
from agentkit.stores.records import MAX_DEPTH
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import model_content, user_content
from tests.helpers.stored_chats import added, with_calls
from tests.stores.conftest import STORES

ARCHIVE: dict[str, Any] = {
    "format": "agentkit.chat",
    "version": 1,
    "id": "ann",
    "title": "Ann",
    "model": None,
    "instructions": None,
    "created": 1_700_000_000,
    "messages": [
        {"content": user_content("hello"), "created": 1_700_000_000.5},
        {
            "content": model_content("hi"),
            "created": 1_700_000_001,
            "usage": {"requests": 1, "prompt_tokens": 5, "estimated": True},
            "finish_reason": "STOP",
        },
    ],
}
HUGE = pytest.param(10**5000, id="more digits than JSON may have")
Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    archive = copy.deepcopy(ARCHIVE)
    change(archive)
    return archive


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def usage(value: Any) -> Change:
    return lambda archive: archive["messages"][1].update(usage=value)


def created(value: Any) -> Change:
    return lambda archive: archive["messages"][1].update(created=value)


def part(value: Any) -> Change:
    return lambda archive: archive["messages"][1]["content"].update(parts=[value])


def top(**values: Any) -> Change:
    return lambda archive: archive.update(values)


def results(*rows: Any) -> Change:
    return top(version=2, results=list(rows))


def result(**values: Any) -> dict[str, Any]:
    return {"id": "r", "seq": 1, "text": "whole", **values}


def without(name: str) -> Change:
    return lambda archive: archive.pop(name)


def given(config: dict[str, Any]) -> Change:
    return lambda archive: archive["messages"][0].update(given={"config": config})


BAD: dict[str, tuple[Change, str]] = {
    "usage that is a fraction": (
        usage({"prompt_tokens": 1.5}),
        r"messages\[1\].usage.prompt_tokens: .* integer, not 1.5",
    ),
    "usage that is a bool": (usage({"requests": True}), r"messages\[1\].usage.requests: .*, not True"),
    "usage below zero": (usage({"requests": -1}), r"messages\[1\].usage.requests: .* 0, not -1"),
    "usage without end": (usage({"requests": 2**100}), r"messages\[1\].usage.requests: Input should be less"),
    "usage that is a text": (usage({"requests": "1"}), r"messages\[1\].usage.requests: .*, not '1'"),
    "a flag that is a count": (usage({"estimated": 1}), r"messages\[1\].usage.estimated: .* boolean, not 1"),
    "an unknown count": (usage({"smiles": 1}), r"messages\[1\].usage.smiles: Extra"),
    "no usage": (usage([]), r"messages\[1\].usage: .* dictionary, not \[\]"),
    "a time that is NaN": (created(float("nan")), "nan"),
    "a time that is infinite": (created(float("inf")), "inf"),
    "a time too late": (created(1e18), r"messages\[1\].created"),
    "a time in the year 10000": (created(253_402_300_800), "created"),
    "a time too early": (created(-1), "created"),
    "a time that is a text": (created("1"), "created"),
    "a time that is a bool": (created(True), "created"),
    "a message without a time": (
        lambda a: a["messages"][0].pop("created"),
        r"messages\[0\].created: Field required",
    ),
    "a chat made too late": (top(created=1e18), "created"),
    "a text that is null": (part({"text": None}), "text is None"),
    "a text that is a number": (part({"text": 5, "thought": True}), "the text of a part is a text"),
    "an empty part": (part({}), "rule 4"),
    "no part": (part("hi"), "rule 4"),
    "too deep a part": (part({"newPart": nested(MAX_DEPTH)}), "nested"),
    "far too deep a part": (part({"newPart": nested(sys.getrecursionlimit() * 2)}), "nested"),
    "a version that is missing": (without("version"), "version is None"),
    "a version that is a text": (top(version="2"), "version is '2'"),
    "a version that is a bool": (top(version=True), "version is True"),
    "version 0": (top(version=0), "version is 0"),
    "version -1": (top(version=-1), "version is -1"),
    "messages that are an object": (top(messages={}), r"messages: .* list, not \{\}"),
    "messages that are texts": (top(messages=["hi"]), r"messages\[0\]: .* dictionary, not 'hi'"),
    "messages that are missing": (without("messages"), r"messages: Field required"),
    "a title that is a number": (top(title=7), r"title: .* string, not 7"),
    "an id that is null": (top(id=None), r"id: .* string, not None"),
    "metadata that is a text": (lambda a: a["messages"][1].update(metadata="x"), r"messages\[1\].metadata"),
    "files that are no objects": (
        lambda a: a["messages"][1].update(files=["x"]),
        r"messages\[1\].files\[0\]",
    ),
    "what is cleared that is no text": (
        lambda a: a["messages"][1].update(cleared={"c": 1}),
        r"messages\[1\].cleared.c: .* string, not 1",
    ),
    "a config that is no object": (
        given({"generationConfig": 5}),
        r"given\.config\['generationConfig'\] is a dict",
    ),
    "a config that can't work": (
        given({"candidateCount": 2}),
        r"given\.config\['candidateCount'\]: a run follows",
    ),
    "tools of a config that are none": (
        given({"tools": 5}),
        r"messages\[0\]\.given\.config\['tools'\] is a list",
    ),
    "a sender's id that is a number": (lambda a: a["messages"][0].update(sender_id=7), "sender_id: .* 7"),
    "a state that is a list": (top(state=[]), "state: .* dictionary"),
    "results that are an object": (top(version=2, results={}), r"results: .* list, not \{\}"),
    "results that are null": (top(version=2, results=None), r"results: .* list, not None"),
    "results that are texts": (results("whole"), r"results\[0\]: .*, not 'whole'"),
    "results in version 1": (top(results=[result(seq=9)]), "message 9"),
    "a result without an id": (results({"seq": 0, "text": ""}), r"results\[0\].id: Field required"),
    "a result without a number": (results({"id": "r", "text": ""}), r"results\[0\].seq: Field required"),
    "a result without a text": (results({"id": "r", "seq": 0}), r"results\[0\].text: Field required"),
    "a result's id that is a number": (results(result(id=7)), r"results\[0\].id: .* string, not 7"),
    "a result's id that is null": (results(result(id=None)), r"results\[0\].id: .* string, not None"),
    "a result's id that is empty": (results(result(id="")), "1 to 200 characters, not 0"),
    "a result's id that is too long": (results(result(id="x" * 201)), "1 to 200 characters, not 201"),
    "a result's text that is a list": (
        results(result(text=["x"])),
        r"results\[0\].text: .* string, not \['x'\]",
    ),
    "a result's text that is null": (results(result(text=None)), r"results\[0\].text: .* string, not None"),
    "two results of one id": (results(result(seq=0), result()), r"results\[1\]: its id 'r' is that of one"),
    "a result of no message": (results(result(seq=2)), "message 2; there are 2"),
    "a result before all messages": (results(result(seq=-1)), "message -1"),
    "a result of half a message": (results(result(seq=0.5)), r"results\[0\].seq: .* integer, not 0.5"),
    "a result of a true message": (results(result(seq=True)), r"results\[0\].seq: .* integer, not True"),
    "a result of a message that is a text": (
        results(result(seq="1")),
        r"results\[0\].seq: .* integer, not '1'",
    ),
}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with STORES[request.param](tmp_path) as store:
        yield store


def chat_in(store: SessionStore, id: str = "ann") -> Chat:
    return Agent(ScriptedModel(["one", "two"])).chat(id, store)


# -- what is let in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_what_is_damaged_is_refused(name: str) -> None:
    change, words = BAD[name]
    archive: Any = copy.copy(ARCHIVE)
    archive["messages"] = [dict(row, content=dict(row["content"])) for row in ARCHIVE["messages"]]
    change(archive)
    with pytest.raises(StoreError, match="The file is damaged") as caught:
        from_archive(archive, "The file")
    assert caught.match(words)
    assert type(caught.value) is StoreError  # to upgrade wouldn't help


@pytest.mark.parametrize("name", [name for name in BAD if "deep" not in name])
def test_what_is_damaged_is_neither_loaded_nor_imported(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    text = json.dumps(changed(BAD[name][0]))
    chat = chat_in(store, "before")
    chat.send_message("hello")
    history = chat.get_history()
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        chat.load(file)
    assert chat.get_history() == history
    chats = ChatManager(Agent(ScriptedModel([])), store)
    for exported in (text, json.loads(text)):
        with pytest.raises(StoreError, match="damaged"):
            chats.import_session(exported, id="new")
    assert [info.id for info in chats.list()] == ["before"]


@pytest.mark.parametrize("value", [{1: "x"}, {"x": b"bytes"}, {"x": {"a", "set"}}, {"x": float("nan")}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(StoreError, match=r"damaged: .* JSON"):
        from_archive(changed(part({"newPart": value})), "It")


def test_only_a_newer_version_asks_for_an_upgrade() -> None:
    with pytest.raises(StoreVersionError, match=r"version 6.*Upgrade"):
        from_archive(changed(top(version=6)), "It")


def test_a_result_that_no_store_could_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = changed(results(result(text="x" * 11)))
    from_archive(archive, "It")
    monkeypatch.setattr(_values, "MAX_RESULT", 10)
    with pytest.raises(StoreError, match=r"It is damaged: results\[0\]: its text has 11 characters"):
        from_archive(archive, "It")


@pytest.mark.parametrize("other", [None, [], "text", {"format": "other"}])
def test_what_is_no_chat_is_said_to_be_none(other: Any) -> None:
    with pytest.raises(StoreError, match="It is not a chat"):
        from_archive(other, "It")


def test_text_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    text = json.dumps(ARCHIVE).replace('"Ann"', "[" * 200_000 + "]" * 200_000)
    file = tmp_path / "deep.json"
    file.write_text(text)
    with pytest.raises(StoreError, match="damaged, or isn't a chat: it is nested"):
        parse_archive(text, "It")
    with pytest.raises(StoreError, match="damaged, or isn't a chat: it is nested"):
        read_archive(file)
    with pytest.raises(StoreError, match="damaged, or isn't a chat: it is nested"):
        chat_in(MemoryStore()).load(file)


def test_an_archive_that_is_too_deep_for_the_stack_is_refused_as_one() -> None:
    archive = changed(part({"newPart": nested(MAX_DEPTH - 10)}))

    def read(depth: int) -> None:
        if depth:
            read(depth - 1)
        else:
            from_archive(archive, "It")

    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    with pytest.raises(StoreError, match="damaged: it is nested"):
        read(sys.getrecursionlimit() - depth - 100)


@pytest.mark.parametrize("text", ["{", b"\xff{", ""])
def test_a_text_that_is_no_json_is_said_to_be_none(text: str | bytes) -> None:
    with pytest.raises(StoreError, match="It is damaged, or isn't a chat: it isn't JSON"):
        parse_archive(text, "It")


@pytest.mark.parametrize("as_text", [str, str.encode])
def test_an_archive_is_read_from_a_text(as_text: Callable[[str], str | bytes]) -> None:
    archived = parse_archive(as_text(json.dumps(ARCHIVE)), "It")
    info, messages = archived.info, archived.messages
    assert list(archived.results) == []
    assert (info.id, info.title, info.created, info.messages) == ("ann", "Ann", 1_700_000_000, 2)
    assert info.usage == messages[1].usage == Usage(requests=1, prompt_tokens=5, estimated=True)
    assert [message.content for message in messages] == [user_content("hello"), model_content("hi")]
    assert [message.finish_reason for message in messages] == [None, "STOP"]


def test_parts_of_a_later_wire_stay_as_they_are(store: SessionStore, tmp_path: Path) -> None:
    new = {"newPart": {"snake_key": 1, "deep": [{"other_key": None}]}, "some_flag": True}
    archive = changed(part(new))
    chats = ChatManager(Agent(ScriptedModel([])), store)
    chat = chats.import_session(archive)
    assert chat.get_history()[1]["parts"] == [new]
    file = tmp_path / "chat.json"
    chat.save(file)
    other = chat_in(store, "other")
    other.load(file)
    assert other.get_history()[1]["parts"] == [new]


def test_what_is_read_is_a_copy() -> None:
    archive = changed(part({"newPart": {"list": [1]}}))
    messages = from_archive(archive, "It").messages
    archive["messages"][1]["content"]["parts"][0]["newPart"]["list"].append(2)
    assert messages[1].content == {"role": "model", "parts": [{"newPart": {"list": [1]}}]}


def test_what_is_as_deep_as_may_be_is_saved_and_loaded(store: SessionStore, tmp_path: Path) -> None:
    archive = changed(part({"newPart": nested(MAX_DEPTH - 10)}))
    chat = ChatManager(Agent(ScriptedModel([])), store).import_session(archive)
    chat.save(tmp_path / "chat.json")
    other = chat_in(store, "other")
    other.load(tmp_path / "chat.json")
    assert other.get_history() == chat.get_history()


# -- results ---------------------------------------------------------------------------------------------------------

TEXTS = {"run-1-0": "whole \0 é 🦉 " * 1000, "run-1-1": "torn \ud83d \udfff \\ud800 \\", "x" * 200: ""}


def with_results(store: SessionStore) -> Chat:
    store.create("ann", title="torn \ud800")
    writer = store.write("ann")
    writer.append([added(user_content("hello")), *(SaveResult(id, text) for id, text in TEXTS.items())])
    writer.append([added(model_content("hi")), SaveResult("next", "of a message that isn't there")])
    writer.release()
    return chat_in(store)


def found(store: SessionStore, id: str) -> dict[str, str]:
    assert all(result.seq == 1 for result in store.results(id))
    return {result.id: result.text for result in store.results(id)}


def test_results_are_saved_and_loaded_with_their_messages(store: SessionStore, tmp_path: Path) -> None:
    with_results(store).save(tmp_path / "chat.json")
    raw = (tmp_path / "chat.json").read_bytes()
    assert json.loads(raw.decode())["title"] == "torn \ud800"  # it is UTF-8, whatever is in it
    other = chat_in(store, "other")
    other.send_message("before")
    before = store.write("other")
    before.append([SaveResult("old", "of before"), added(user_content("x"))])
    before.release()
    other.load(tmp_path / "chat.json")
    assert found(store, "other") == TEXTS
    assert other.send_message("more").text == "two"


def test_results_are_exported_and_imported(store: SessionStore) -> None:
    with_results(store)
    chats = ChatManager(Agent(ScriptedModel([])), store)
    exported = chats.export_session("ann")
    for id, form in (("a", exported), ("b", exported.encode()), ("c", json.loads(exported))):
        chats.import_session(form, id=id)
        assert found(store, id) == TEXTS
    assert "whole" not in chats.export_session("ann", format="markdown")


def test_results_go_along_with_a_fork(store: SessionStore) -> None:
    chat = with_results(store)
    chat.send_message("more")
    writer = store.write("ann")
    writer.append([SaveResult("late", "of the next turn"), added(user_content("x"))])
    writer.release()
    assert found(store, chat.fork(at=2).id) == TEXTS
    assert list(store.results(chat.fork(at=0).id)) == []
    whole = store.results(chat.fork().id)
    assert {result.id for result in whole} == {*TEXTS, "next", "late"}
    assert list(store.results("ann")) == list(whole)


def test_a_chat_that_is_not_in_its_store_yet_is_saved_without_results(tmp_path: Path) -> None:
    chat_in(MemoryStore()).save(tmp_path / "chat.json")
    assert list(read_archive(tmp_path / "chat.json").results) == []


EVERYTHING = Message(
    content=model_content("hi"),
    created=None,
    model="m",
    endpoint="vertex",
    usage=Usage(requests=1),
    finish_reason="STOP",
    metadata={"groundingMetadata": {"x": [1]}},
    files=[{"part": 0, "uri": "x", "mimeType": "image/png"}],
    cleared={"c1": "[cleared]"},
)


def test_all_that_is_known_about_a_message_is_saved_loaded_forked_and_imported(
    store: SessionStore, tmp_path: Path
) -> None:
    asked = Message(content=user_content("hello"), created=5.0, sender_id="msg-1")
    store.create("ann", messages=[asked, EVERYTHING], state={"cart": ["tea"]})
    chat = chat_in(store)
    chat.save(tmp_path / "chat.json")
    assert json.loads((tmp_path / "chat.json").read_text())["version"] == 5
    chats = ChatManager(Agent(ScriptedModel([])), store)
    other = chat_in(store, "other")
    other.load(tmp_path / "chat.json")
    copies = [chats.import_session(chats.export_session("ann"), id="imported"), chat.fork(), chat]
    for each in copies:
        assert each.get_messages() == [asked, EVERYTHING]
        assert each.state == {"cart": ["tea"]}
    loaded = other.get_messages()
    assert [replace(message, created=None) for message in loaded] == [
        replace(asked, created=None),
        EVERYTHING,
    ]
    assert other.state == {"cart": ["tea"]}
    assert chat.fork(at=0).state == {}


# -- what is let out -------------------------------------------------------------------------------------------------


def test_a_chat_that_broke_off_while_tools_ran_is_not_saved(store: SessionStore, tmp_path: Path) -> None:
    writer = with_calls(store)
    writer.append([StartCalls([0])])
    writer.release()
    file = tmp_path / "chat.json"
    file.write_text("before")
    with pytest.raises(StoreError, match=r"'ann' broke off while tools ran.*resume\(\)"):
        chat_in(store).save(file)
    assert file.read_text() == "before"
    chats = ChatManager(Agent(ScriptedModel([])), store)
    with pytest.raises(StoreError, match=r"resume\(\)"):
        chats.export_session("ann")
    assert "weather(" in chats.export_session("ann", format="markdown")


def test_what_could_not_be_loaded_is_not_saved(store: SessionStore, tmp_path: Path) -> None:
    store.create("ann")
    writer = store.write("ann")
    writer.append([added(user_content("hi")), added({"role": "model", "parts": []})])
    writer.release()
    damaged = r"message 1 of session 'ann' can't be read \(contents\[1\]: .* at least one part"
    with pytest.raises(StoreError, match=damaged):
        chat_in(store).save(tmp_path / "chat.json")
    assert not (tmp_path / "chat.json").exists()


def test_an_archive_of_an_archive_is_the_same() -> None:
    for archive in (ARCHIVE, changed(results(result(), result(id="s", seq=0, text="\0 \ud800")))):
        read = from_archive(archive, "It")
        again = to_archive(read.info, read.messages, read.results)
        assert from_archive(again, "It") == read


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e18, -1e18, 1e300])
def test_markdown_of_a_message_at_an_odd_time_is_made(odd: float) -> None:
    message = Message(content=user_content("hello"), created=odd)
    text = to_markdown(SessionInfo(id="ann", created=0, updated=0), [message])
    assert "## User, at an unknown time" in text
    assert "hello" in text


def test_markdown_names_media_and_parts_that_it_does_not_know() -> None:
    parts: Any = [{"fileData": {"mimeType": "a/b", "fileUri": "x"}}, {"inlineData": "odd"}, {"newPart": 1}]
    message = Message(content=user_content(*parts), created=0)
    text = to_markdown(SessionInfo(id="ann", created=0, updated=0), [message])
    for piece in ("1970-01-01 00:00:00 UTC", "*(a/b)*", "*(inlineData)*", "*(newPart)*"):
        assert piece in text


# -- files -----------------------------------------------------------------------------------------------------------


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666, 0o640])
@pytest.mark.usefixtures("umask")
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "chat.json"
    file.touch()
    file.chmod(mode)
    chat_in(MemoryStore()).save(file)
    assert mode_of(file) == mode
    assert read_archive(file).info.id == "ann"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_archive(tmp_path / "chat.json", ARCHIVE)
    assert mode_of(tmp_path / "chat.json") == 0o644


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    target.parent.mkdir()
    if there:
        target.write_text("before")
    link = tmp_path / "chat.json"
    link.symlink_to(Path("elsewhere") / "real.json")
    chat_in(MemoryStore()).save(link)
    assert link.is_symlink()
    assert read_archive(target).info.id == "ann"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders on Windows")
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (pipe, loop, tmp_path, Path(tmp_path.anchor)):
        with pytest.raises(StoreError, match="Can't write"):
            write_archive(path, ARCHIVE)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert loop.is_symlink()
    assert sorted(tmp_path.iterdir()) == [loop, pipe]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "chat.json"
    file.write_text("before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write_archive(file, ARCHIVE)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


# -- counts in a store -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [1.5, "1", [1], float("nan"), object(), HUGE])
def test_a_usage_that_could_not_be_read_is_not_stored(odd: Any) -> None:
    with pytest.raises(StoreError, match="can't be stored"):
        encode_usage(Usage(prompt_tokens=odd))


def test_a_session_with_an_odd_usage_stays_readable(tmp_path: Path) -> None:
    odd: Any = 1.5
    with STORES["sqlite"](tmp_path) as store:
        store.create("ann")
        writer = store.write("ann")
        writer.append([added(user_content("hi"))])
        with pytest.raises(StoreError, match="can't be stored"):
            writer.append([added(model_content("hi"), usage=Usage(prompt_tokens=odd))])
        writer.release()
        assert len(store.load("ann").messages) == 1


def test_a_list_of_contents_is_refused_with_how_to_begin_a_chat_with_it(tmp_path: Path) -> None:
    path = tmp_path / "contents.json"
    path.write_text(json.dumps([user_content("Hello")]))
    chat = Agent(ScriptedModel(["ok"])).chat()
    with pytest.raises(StoreError, match=r"agent\.chat\(history="):
        chat.load(path)
    assert (
        Agent(ScriptedModel(["ok"])).chat(history=json.loads(path.read_text())).send_message("?").text == "ok"
    )


def waiting(store: SessionStore) -> Any:
    """Make a chat that waits for a person, and return its agent and run."""

    def order(sku: str) -> str:
        """Order."""
        return f"ordered {sku}"

    agent = Agent(ScriptedModel([call("order", sku="A"), "done"]), tools=[Tool.of(order, approval=True)])
    return agent, agent.chat("ann", store).send_message("x")


def test_a_chat_that_waits_is_exported_and_goes_on_where_it_is_imported(store: SessionStore) -> None:
    agent, run = waiting(store)
    exported = ChatManager(agent, store).export_session("ann")
    other = ChatManager(agent, MemoryStore())
    chat = other.import_session(exported)
    assert chat.pending == list(run.pending)
    assert chat.resume({run.pending[0].call_id: Approve()}).text == "done"
    with pytest.raises(
        StoreError, match="have no responses"
    ):  # a part that ends with calls, without their ledger
        ChatManager(agent, store).import_session(json.loads(exported) | {"calls": []}, id="ben")


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"index": 1}, {"callId": 3}, {"response": {}}, {"odd": 1}],
    ids=str,
)
def test_a_ledger_that_is_not_that_of_the_last_message_is_damage(change: dict[str, Any]) -> None:
    store = MemoryStore()
    agent, _ = waiting(store)
    archive = json.loads(ChatManager(agent, store).export_session("ann"))
    archive["calls"][0] |= change
    with pytest.raises(StoreError, match="It is damaged"):
        from_archive(archive, "It")
