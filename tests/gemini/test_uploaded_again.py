"""A file that was uploaded again is known from then on where it is now: in chats, stores, forks, archives and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, MemoryStore, ModelError, Result, SQLiteStore, StoreError, ToolDeferred
from agentkit.stores.base import SaveFiles
from agentkit.stores.store import SessionStore
from tests.gemini.test_uploads import files, model_on, sent_files, server, video
from tests.helpers.files_api import FilesApi
from tests.helpers.gemini_server import GeminiServer, call, calls, fault
from tests.helpers.ways import Way, way

__all__ = ["files", "server", "video", "way"]

LONG = 48 * 3600.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "chats.db")


def begin(way: Way, store: SessionStore, server: GeminiServer, files: FilesApi, video: Path) -> int:
    """Let a chat have a file that has expired; return how many uploads that took."""
    files.lifetime = 30.0  # less than is asked for where it is sent
    server.script(["one"])
    way.chat(Agent(model_on(server)), store).send(["a", video])
    files.lifetime = LONG
    return len(files.kept)


def test_the_next_turn_and_a_reopened_chat_upload_nothing_more(
    way: Way, store: SessionStore, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    before = begin(way, store, server, files, video)
    content = store.load("ann").messages[0].content
    server.script(["two", "three", "four"])
    for turn in ("b", "c", "d"):
        way.chat(Agent(model_on(server)), store).send(turn)  # each time a model that remembers nothing
        assert sent_files(server) == [f"f{before}"]
    assert len(files.kept) == before + 1
    (message, *_) = store.load("ann").messages
    assert message.content == content  # as it was
    assert message.files[0]["uri"].endswith(f"/f{before}")
    assert (message.files[0]["part"], message.files[0]["path"]) == (1, str(video))


def test_a_turn_that_failed_has_uploaded_it_for_the_next(
    way: Way, store: SessionStore, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    before = begin(way, store, server, files, video)
    server.script([fault(400, message="no"), "two"])
    with pytest.raises(ModelError):
        way.chat(Agent(model_on(server)), store).send("b")
    assert way.chat(Agent(model_on(server)), store).send("b").text == "two"
    assert len(files.kept) == before + 1
    assert [message.content["parts"][0] for message in store.load("ann").messages][2:] == [
        {"text": "b"},
        {"text": "two"},
    ]


@pytest.mark.parametrize("how", ["fork", "saved", "another key"])
def test_so_does_a_chat_that_comes_of_it(
    how: str, store: SessionStore, server: GeminiServer, files: FilesApi, video: Path, tmp_path: Path
) -> None:
    before = begin(Way(), store, server, files, video)
    server.script(["two", "three"])
    key = "another-key-456" if how == "another key" else "test-key-0123456789"
    Agent(model_on(server, key=key)).chat("ann", store).send_message("b")
    assert len(files.kept) == before + 1
    agent = Agent(model_on(server, key=key))
    chat = agent.chat("ann", store)
    if how == "fork":
        chat = chat.fork(id="bob")
    elif how == "saved":
        chat.save(tmp_path / "chat.json")
        chat = agent.chat()
        chat.load(tmp_path / "chat.json")
    assert chat.send_message("c").text == "three"
    assert sent_files(server) == [f"f{before}"]
    assert len(files.kept) == before + 1


def test_a_chat_without_a_store_and_its_fork_know_it_too(
    server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.lifetime = 30.0
    server.script(["one", "two", "three"])
    chat = Agent(model_on(server)).chat()
    chat.send_message(["a", video])
    files.lifetime = LONG
    chat.send_message("b")
    assert chat.get_messages()[0].files[0]["uri"].endswith(f"/f{len(files.kept) - 1}")
    assert chat.fork().get_messages()[0].files == chat.get_messages()[0].files


def test_a_run_that_waits_has_it_in_its_json(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    def wait() -> str:
        """Wait."""
        raise ToolDeferred("later")

    def agent() -> Agent:
        return Agent(model_on(server), tools=[wait])

    files.lifetime = 30.0
    server.script([calls(call("wait")), calls(call("wait")), "done"])
    run = way.run(agent(), ["a", video])
    files.lifetime = LONG
    run = way.resume(agent(), run.to_json(), {run.pending[0].call_id: Result("ok")})
    uploads = len(files.kept)
    assert run.stop == "deferred"
    assert run.messages[0].files[0]["uri"].endswith(f"/f{uploads - 1}")
    run = way.resume(agent(), run.to_json(), {run.pending[0].call_id: Result("ok")})
    assert (run.text, sent_files(server), len(files.kept)) == ("done", [f"f{uploads - 1}"], uploads)


def test_only_a_message_that_is_there_has_files(store: SessionStore) -> None:
    store.create("ann")
    writer = store.write("ann")
    with pytest.raises(StoreError):
        writer.append([SaveFiles(0, [{"uri": "x"}])])
    writer.release()


def test_an_archive_whose_files_are_of_no_part_is_taken_as_before(server: GeminiServer) -> None:
    odd: Any = [{"uri": "u", "mimeType": "x/y", "part": part} for part in (9, -1, "0", None)]
    from agentkit.core.history import History
    from agentkit.stores.message import Message
    from agentkit.wire.content import user_content

    assert list(History([Message(content=user_content("a"), files=odd)]).files) == ["u"]
