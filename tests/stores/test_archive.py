"""What an archive lets in and out: what is read is sound, what is saved can be read, files stay as they were."""

from __future__ import annotations

import copy
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ChatManager, MemoryStore, StoreError
from agentkit.chat import Chat
from agentkit.errors import StoreVersionError
from agentkit.limits import Usage
from agentkit.stores._values import encode_usage
from agentkit.stores.archive import (
    MAX_DEPTH,
    from_archive,
    parse_archive,
    read_archive,
    to_archive,
    to_markdown,
    write_archive,
)
from agentkit.stores.base import AddMessage, SessionInfo, SessionStore, StoredMessage
from agentkit.testing import ScriptedModel
from agentkit.wire.content import model_content, user_content
from tests.stores.chats import with_calls
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


def without(name: str) -> Change:
    return lambda archive: archive.pop(name)


BAD: dict[str, tuple[Change, str]] = {
    "usage that is a fraction": (usage({"prompt_tokens": 1.5}), "prompt_tokens is 1.5, not a count"),
    "usage that is a bool": (usage({"requests": True}), "requests is True, not a count"),
    "usage below zero": (usage({"requests": -1}), "not a count"),
    "usage without end": (usage({"requests": 2**63}), "not a count"),
    "usage that is a text": (usage({"requests": "1"}), "not a count"),
    "a flag that is a count": (usage({"estimated": 1}), "not true or false"),
    "an unknown count": (usage({"smiles": 1}), "'smiles' in it"),
    "no usage": (usage([]), "not an object"),
    "a time that is NaN": (created(float("nan")), "nan"),
    "a time that is infinite": (created(float("inf")), "inf"),
    "a time too late": (created(1e18), r"messages\[1\].created"),
    "a time in the year 10000": (created(253_402_300_800), "created"),
    "a time too early": (created(-1), "created"),
    "a time that is a text": (created("1"), "created"),
    "a time that is a bool": (created(True), "created"),
    "a message without a time": (lambda a: a["messages"][0].pop("created"), "no 'created'"),
    "a chat made too late": (top(created=1e18), "created"),
    "a text that is null": (part({"text": None}), "text is None"),
    "a text that is a number": (part({"text": 5, "thought": True}), "text is 5"),
    "an empty part": (part({}), "rule 4"),
    "no part": (part("hi"), "rule 4"),
    "too deep a part": (part({"newPart": nested(MAX_DEPTH)}), "nested"),
    "far too deep a part": (part({"newPart": nested(sys.getrecursionlimit() * 2)}), "nested"),
    "a version that is missing": (without("version"), "version is None"),
    "a version that is a text": (top(version="2"), "version is '2'"),
    "a version that is a bool": (top(version=True), "version is True"),
    "version 0": (top(version=0), "version is 0"),
    "version -1": (top(version=-1), "version is -1"),
    "messages that are an object": (top(messages={}), "list of objects"),
    "messages that are texts": (top(messages=["hi"]), "list of objects"),
    "messages that are missing": (without("messages"), "no 'messages'"),
    "a title that is a number": (top(title=7), "title is 7"),
    "an id that is null": (top(id=None), "id is null"),
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
    with pytest.raises(StoreVersionError, match=r"version 2.*Upgrade"):
        from_archive(changed(top(version=2)), "It")


@pytest.mark.parametrize("other", [None, [], "text", {"format": "other"}])
def test_what_is_no_chat_is_said_to_be_none(other: Any) -> None:
    with pytest.raises(StoreError, match="It is not a chat"):
        from_archive(other, "It")


def test_text_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    text = json.dumps(ARCHIVE).replace('"Ann"', "[" * 200_000 + "]" * 200_000)
    file = tmp_path / "deep.json"
    file.write_text(text)
    with pytest.raises(StoreError, match="damaged: it is nested"):
        parse_archive(text, "It")
    with pytest.raises(StoreError, match="damaged: it is nested"):
        read_archive(file)
    with pytest.raises(StoreError, match="damaged: it is nested"):
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
    with pytest.raises(StoreError, match="It is damaged or no chat at all: it isn't JSON"):
        parse_archive(text, "It")


@pytest.mark.parametrize("as_text", [str, str.encode])
def test_an_archive_is_read_from_a_text(as_text: Callable[[str], str | bytes]) -> None:
    info, messages = parse_archive(as_text(json.dumps(ARCHIVE)), "It")
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
    _, messages = from_archive(archive, "It")
    archive["messages"][1]["content"]["parts"][0]["newPart"]["list"].append(2)
    assert messages[1].content == {"role": "model", "parts": [{"newPart": {"list": [1]}}]}


def test_what_is_as_deep_as_may_be_is_saved_and_loaded(store: SessionStore, tmp_path: Path) -> None:
    archive = changed(part({"newPart": nested(MAX_DEPTH - 10)}))
    chat = ChatManager(Agent(ScriptedModel([])), store).import_session(archive)
    chat.save(tmp_path / "chat.json")
    other = chat_in(store, "other")
    other.load(tmp_path / "chat.json")
    assert other.get_history() == chat.get_history()


# -- what is let out -------------------------------------------------------------------------------------------------


def test_a_chat_that_broke_off_while_tools_ran_is_not_saved(store: SessionStore, tmp_path: Path) -> None:
    with_calls(store).release()
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
    writer.append([AddMessage(user_content("hi")), AddMessage({"role": "model", "parts": []})])
    writer.release()
    with pytest.raises(StoreError, match=r"The chat 'ann' is damaged: contents\[1\]"):
        chat_in(store).save(tmp_path / "chat.json")
    assert not (tmp_path / "chat.json").exists()


def test_an_archive_of_an_archive_is_the_same() -> None:
    info, messages = from_archive(ARCHIVE, "It")
    assert from_archive(to_archive(info, messages), "It") == (info, messages)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e18, -1e18, 1e300])
def test_markdown_of_a_message_at_an_odd_time_is_made(odd: float) -> None:
    message = StoredMessage(seq=0, content=user_content("hello"), created=odd)
    text = to_markdown(SessionInfo(id="ann", created=0, updated=0), [message])
    assert "## User, at an unknown time" in text
    assert "hello" in text


def test_markdown_names_media_and_parts_that_it_does_not_know() -> None:
    parts: Any = [{"fileData": {"mimeType": "a/b", "fileUri": "x"}}, {"inlineData": "odd"}, {"newPart": 1}]
    message = StoredMessage(seq=0, content=user_content(*parts), created=0)
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
    assert read_archive(file)[0].id == "ann"


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
    assert read_archive(target)[0].id == "ann"
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
        writer.append([AddMessage(user_content("hi"))])
        with pytest.raises(StoreError, match="can't be stored"):
            writer.append([AddMessage(model_content("hi"), usage=Usage(prompt_tokens=odd))])
        writer.release()
        assert len(store.load("ann").messages) == 1
