"""Files that are too large for a request are uploaded, looked after, and never missed in the midst of a chat."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from google import genai
from google.genai import types
from PIL import Image

from agentkit import (
    Agent,
    ConfigurationError,
    GeminiModel,
    Limits,
    MemoryStore,
    ModelError,
    RetryPolicy,
    SQLiteStore,
)
from agentkit.core import files as core_files
from agentkit.events import FileLost, MessageAdded, PrefixChanged, UploadProgress
from agentkit.gemini import files as gemini_files
from agentkit.testing import ScriptedModel
from agentkit.wire.files import local_file
from tests.helpers.files_api import FilesApi
from tests.helpers.gemini import KEY, NO_TLS
from tests.helpers.gemini_server import GeminiServer, call, calls, fault
from tests.helpers.until import PATIENCE, until
from tests.helpers.ways import Way, way

__all__ = ["way"]

VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4000
"""About a megabyte."""


def add(n: int) -> int:
    """Add one."""
    return n + 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiServer]:
    monkeypatch.setattr(gemini_files, "PIECE", 1 << 18)
    monkeypatch.setattr(gemini_files, "_PAUSES", (0.001, 0.01))
    with GeminiServer() as running:
        running.files = FilesApi()
        yield running
        running.files.released.set()


@pytest.fixture
def files(server: GeminiServer) -> FilesApi:
    assert server.files is not None
    return server.files


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "talk.mp4").write_bytes(VIDEO)
    return tmp_path / "talk.mp4"


def model_on(server: GeminiServer, key: str = KEY, **options: Any) -> GeminiModel:
    return GeminiModel(api_key=key, http_options={"base_url": server.url}, upload_over=100_000, **options)


def sent_files(server: GeminiServer) -> list[str]:
    """List the URIs in the last request, shortened."""
    parts = [part for content in server.requests[-1].body["contents"] for part in content["parts"]]
    return [part["fileData"]["fileUri"].rpartition("/")[2] for part in parts if "fileData" in part]


def heard(agent_events: list[Any], kind: type[Any]) -> list[Any]:
    return [event for event in agent_events if isinstance(event, kind)]


def test_a_large_file_is_uploaded_in_pieces_waited_for_and_noted_in_the_message(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.looks, files.place = 2, "https://elsewhere.invalid"
    server.script(["A talk."])
    events: list[Any] = []
    model = model_on(server)
    run = way.run(Agent(model, observers=[lambda event, _: events.append(event)]), ["Sum it up.", video])
    model.close()
    assert (run.text, [file.data == VIDEO for file in files.kept]) == ("A talk.", [True])
    assert files.commands == ["start", "upload", "upload", "upload", "upload, finalize"]
    assert files.kept[0].about["display_name"] == "talk.mp4"
    told = heard(events, UploadProgress)
    assert [each.sent for each in told][:5] == [0, 1 << 18, 2 << 18, 3 << 18, len(VIDEO)]
    assert (told[-1].done, told[0].total, told[0].name) == (True, len(VIDEO), "talk.mp4")
    (noted,) = run.messages[0].files
    assert noted["path"] == str(video)
    assert (noted["part"], noted["mimeType"], len(noted["sha256"])) == (1, "video/mp4", 64)
    assert noted["expires"] > 1e9
    assert KEY not in run.to_json()
    assert run.contents[0]["parts"][1] == {"fileData": {"fileUri": noted["uri"], "mimeType": "video/mp4"}}
    assert server.requests[-1].body["contents"] == run.contents[:1]


def test_a_content_is_uploaded_once_whoever_sends_it(
    server: GeminiServer, files: FilesApi, video: Path
) -> None:
    server.script(["ok"] * 6)
    agent = Agent(model_on(server))
    agent.run(["a", video])
    agent.run(["b", io.BytesIO(VIDEO)])
    for each in agent.map([["c", video]] * 3, concurrency=3):
        assert each.error is None
    assert asyncio.run(agent.aio.run(["d", VIDEO])).text == "ok"
    assert len(files.kept) == 1


@pytest.mark.parametrize("trouble", [503, "reset"])
def test_what_broke_off_goes_on_where_it_was(
    server: GeminiServer, files: FilesApi, video: Path, trouble: int | str
) -> None:
    files.script = [0, trouble, 0, 0, trouble] if trouble == "reset" else [0, trouble, trouble]
    server.script(["ok"])
    model = model_on(server)
    assert Agent(model).run(["a", video]).text == "ok"
    model.close()
    assert files.kept[0].data == VIDEO
    assert "query" in files.commands


def client_on(server: GeminiServer) -> genai.Client:
    http: dict[str, Any] = {
        "base_url": server.url,
        "headers": {"Connection": "close"},
        "api_version": "v1beta",
    }
    http |= {"client_args": {"verify": NO_TLS}, "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS}}
    return genai.Client(api_key=KEY, http_options=cast(types.HttpOptionsDict, http))


@pytest.mark.parametrize("owner", ["own", "users"])
def test_a_file_whose_state_cannot_be_seen_for_a_moment_is_not_uploaded_again(
    server: GeminiServer, files: FilesApi, video: Path, owner: str
) -> None:
    files.looks, files.faults = 2, {"GET": [503, 503, 0, 503]}
    server.script(["ok"])
    client = client_on(server)
    model = model_on(server) if owner == "own" else GeminiModel(client=client, upload_over=10)
    agent = Agent(model, retry=RetryPolicy(attempts=1))
    assert agent.run(["a", video]).text == "ok"
    assert (len(files.kept), files.faults["GET"]) == (1, [])
    model.close()
    client.close()


def test_where_an_upload_broke_off_is_asked_for_until_it_is_known(
    server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.script, files.faults = [0, "reset"], {"query": [503, 503]}
    server.script(["ok"])
    model = model_on(server)
    assert Agent(model, retry=RetryPolicy(attempts=1)).run(["a", video]).text == "ok"
    assert (len(files.kept), files.kept[0].data) == (1, VIDEO)
    files.script, files.faults = ["reset"], {"query": ["much", "much", "much", "9" * 20]}
    with pytest.raises(ModelError, match=r"can't be read: it has received '.*' of 1024013 bytes"):
        Agent(model, retry=RetryPolicy(attempts=1)).run(["a", VIDEO + b"."])
    model.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "trickle"])
@pytest.mark.parametrize("at", ["start", "query", "GET"])
def test_a_server_that_falls_silent_or_trickles_is_asked_again(
    server: GeminiServer, files: FilesApi, video: Path, how: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemini_files, "SILENCE", 0.5)
    files.looks, files.script, files.faults = 1, ["reset"], {at: [how]}
    server.script(["ok"])
    model = model_on(server)
    assert Agent(model, retry=RetryPolicy(attempts=2, base=0.001)).run(["a", video]).text == "ok"
    assert [file.data == VIDEO for file in files.kept] == [True]
    model.close()


@pytest.mark.slow
def test_the_time_of_a_run_is_up_though_another_one_uploads_the_same(
    server: GeminiServer, files: FilesApi, video: Path, tmp_path: Path
) -> None:
    files.looks = 10**9
    server.script(["ok"] * 2)
    model = model_on(server)
    first = Agent(model)
    with ThreadPoolExecutor(1) as pool:
        run: Future[Any] = pool.submit(first.run, ["a", video])
        until(lambda: files.kept)
        assert Agent(model, limits=Limits(seconds=0.2)).run(["b", video]).stop == "seconds"
        files.kept[0].looks = 0
        assert run.result(PATIENCE).text == "ok"
    assert len(files.kept) == 1
    model.close()


def test_who_sends_what_another_has_uploaded_keeps_the_own_name_and_path(
    server: GeminiServer, files: FilesApi, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy.mp4").write_bytes(VIDEO)
    server.script(["ok"] * 3)
    agent = Agent(model_on(server))
    runs = [agent.run(["a", each]) for each in (video, tmp_path / "copy.mp4", VIDEO)]
    noted = [run.messages[0].files[0] for run in runs]
    assert [(each["name"], each.get("path")) for each in noted] == [
        ("talk.mp4", str(video)),
        ("copy.mp4", str(tmp_path / "copy.mp4")),
        ("file", None),
    ]
    assert len({each["uri"] for each in noted}) == len(files.kept) == 1


@pytest.mark.parametrize("size", [len(VIDEO) + 9, 1 << 19])
def test_a_file_that_changes_meanwhile(server: GeminiServer, files: FilesApi, video: Path, size: int) -> None:
    def resize(event: Any, _: Any) -> None:
        if isinstance(event, UploadProgress) and event.sent == 1 << 18:
            os.truncate(video, size)

    server.script(["ok"])
    model = model_on(server)
    agent = Agent(model, observers=[resize])
    if size > len(VIDEO):
        agent.run(["a", video])
        assert files.kept[0].data == VIDEO
    else:
        with pytest.raises(ConfigurationError, match=r"'talk\.mp4' became shorter while it was uploaded"):
            agent.run(["a", video])
    model.close()


def test_a_piece_that_is_refused_again_and_again_fails_the_run_before_anything_is_stored(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.script = [503] * 40
    store = MemoryStore()
    model = model_on(server)
    agent = Agent(model, retry=RetryPolicy(attempts=2, base=0.001))
    with pytest.raises(ModelError, match="scripted") as raised:
        way.chat(agent, store).send(["a", video])
    assert raised.value.run is not None
    assert agent.chat("ann", store).get_messages() == []
    assert server.requests == []
    model.close()


def test_a_file_that_the_server_cannot_use_says_why(way: Way, server: GeminiServer, files: FilesApi) -> None:
    files.fails, files.looks = "no video stream", 1
    model = model_on(server)
    with pytest.raises(ModelError, match=r"can't use the file 'file' \(video/mp4\): no video stream"):
        way.run(Agent(model), ["a", VIDEO])
    assert server.requests == []
    model.close()


@pytest.mark.parametrize("kind", ["none", "memory", "sqlite"])
def test_what_has_expired_is_uploaded_again_from_where_it_was(
    way: Way, server: GeminiServer, files: FilesApi, video: Path, tmp_path: Path, kind: str
) -> None:
    store: Any = {"none": None, "memory": MemoryStore()}.get(kind) or (
        SQLiteStore(tmp_path / "c.db") if kind == "sqlite" else None
    )
    files.lifetime = 30.0  # less than is left of it when it is sent
    server.script(["one", "two"])
    agent = Agent(model_on(server))
    if store is None:
        chat = agent.chat()
        chat.send_message(["a", video])
        files.lifetime = 48 * 3600.0
        chat.send_message("b")
    else:
        way.chat(agent, store).send(["a", video])
        files.lifetime = 48 * 3600.0
        other = Agent(model_on(server))  # as in another process
        way.chat(other, store).send("b")
    assert sent_files(server) == [f"f{len(files.kept) - 1}"]
    assert len(files.kept) >= 2


@pytest.mark.parametrize("why", ["changed", "gone", "another key", "bytes", "vertex"])
def test_what_is_to_be_had_nowhere_is_a_line_with_its_name(
    server: GeminiServer, files: FilesApi, video: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(["one", "two", "three"])
    store = MemoryStore()
    Agent(model_on(server)).chat("ann", store).send_message(["a", VIDEO if why == "bytes" else video])
    if why == "changed":
        video.write_bytes(VIDEO + b"more")
    elif why != "bytes":
        video.unlink()
    events: list[Any] = []
    if why in ("changed", "gone", "bytes"):
        later = store.load("ann").messages[0].files[0]["expires"] + 1
        monkeypatch.setattr("agentkit.drivers.files.time.time", lambda: later)
    model = model_on(server, key="another-key-456" if why == "another key" else KEY)
    agent = Agent(model, observers=[lambda event, _: events.append(event)])
    if why == "vertex":
        vertex = ScriptedModel(["two", "three"])
        monkeypatch.setattr(ScriptedModel, "uploads_to", None)
        agent = Agent(vertex, observers=[lambda event, _: events.append(event)])
    chat = agent.chat("ann", store)
    assert [chat.send_message("b").text, chat.send_message("c").text] == ["two", "three"]
    last: Any = vertex.requests[-1] if why == "vertex" else server.requests[-1].body
    name = "file" if why == "bytes" else "talk.mp4"
    assert last["contents"][0]["parts"][1] == {
        "text": f"[The file {name!r} (video/mp4) is no longer available.]"
    }
    assert [event.name for event in heard(events, FileLost)] == [name] * 2  # once in each run
    assert chat.get_messages()[0].content["parts"][1].keys() == {"fileData"}


def test_what_has_expired_is_remembered_no_more(server: GeminiServer, files: FilesApi, video: Path) -> None:
    model = model_on(server)
    files.lifetime = 30.0
    for at in range(3):
        video.write_bytes(VIDEO + bytes([at]))
        Agent(model).upload(video)
    files.lifetime = 48 * 3600.0
    Agent(model).upload(video)
    assert len(files.kept) == 4
    assert len(model._uploads._known) == len(model._uploads._locks) == 1
    model.close()


def test_what_is_lost_is_not_looked_for_in_each_turn(
    way: Way, server: GeminiServer, files: FilesApi, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.lifetime = 30.0
    server.script(["one", calls(call("add", {"n": 1})), calls(call("add", {"n": 2})), "three"])
    chat = way.chat(Agent(model_on(server), tools=[add]), MemoryStore())
    chat.send(["a", video])
    video.write_bytes(VIDEO + b"more")
    look = Mock(side_effect=local_file)
    monkeypatch.setattr("agentkit.drivers.files.local_file", look)
    assert chat.send("b").text == "three"
    assert look.call_count == 1


def test_a_file_that_was_deleted_before_its_time_is_uploaded_again(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    server.script(["one", "two"])
    store = MemoryStore()
    model = model_on(server)
    chat = way.chat(Agent(model), store)
    chat.send(["a", video])
    files.kept[0].gone = True
    assert chat.send("b").text == "two"
    assert sent_files(server) == ["f1"]
    model.close()


def test_one_that_is_refused_again_once_it_is_there_ends_the_run(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    words = "You do not have permission to access the File or it may not exist."
    server.script([fault(403, status="PERMISSION_DENIED", message=words)] * 9)
    model = model_on(server)
    with pytest.raises(ModelError, match="permission"):
        way.run(Agent(model), ["a", video])
    assert len(server.requests) == len(files.kept) == 2
    model.close()


def test_a_message_on_the_way_brings_its_file(server: GeminiServer, files: FilesApi, video: Path) -> None:
    from tests.helpers.gemini_server import call as called
    from tests.helpers.gemini_server import calls

    server.script([calls(called("look")), "Seen."])
    model = model_on(server)

    def look() -> str:
        """Look."""
        stream.send(["and this", video])
        return "ok"

    with Agent(model, tools=[look]).stream("go") as stream:
        events = list(stream)
    model.close()
    assert stream.run.text == "Seen."
    assert len(heard(events, MessageAdded)) == 1
    assert sent_files(server) == ["f0"]
    assert stream.run.messages[3].files[0]["path"] == str(video)


def test_by_hand_sync_and_async(server: GeminiServer, files: FilesApi, video: Path, tmp_path: Path) -> None:
    server.script(["one", "two"])
    agent = Agent(model_on(server))
    notes = tmp_path / "notes"
    notes.write_text("Tea keeps.")
    first, second = agent.upload(video), asyncio.run(agent.aio.upload(notes, name="Notes"))
    assert [file.about["mime_type"] for file in files.kept] == ["video/mp4", "text/plain"]
    assert second.name == "Notes"
    run = agent.run(["Sum them up.", first, second])
    assert sent_files(server) == ["f0", "f1"]
    assert [each["name"] for each in run.messages[0].files] == ["talk.mp4", "Notes"]
    assert repr(first).count("talk.mp4")
    given = types.File(uri=first.uri, mime_type="video/mp4", name="files/f0")
    agent.run(["Again.", given])
    assert sent_files(server) == ["f0"]
    picture = agent.upload(Image.new("RGB", (2, 2), "red"), name="red.png")
    assert (picture.mime_type, picture.name, files.kept[-1].data[:4]) == ("image/png", "red.png", b"\x89PNG")


def test_through_a_client_of_the_users(server: GeminiServer, files: FilesApi, video: Path) -> None:
    files.looks = 1
    server.script(["ok"])
    client = client_on(server)
    events: list[Any] = []
    model = GeminiModel(client=client, upload_over=10)
    assert Agent(model, observers=[lambda e, _: events.append(e)]).run(["a", video]).text == "ok"
    assert files.kept[0].data == VIDEO
    assert heard(events, UploadProgress)[-1].done
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize("silent", ["start", "GET"])
def test_the_time_of_the_run_bounds_what_a_client_of_the_users_uploads(
    way: Way, server: GeminiServer, files: FilesApi, video: Path, silent: str
) -> None:
    files.looks, files.faults = 10**9, {silent: ["silent"]}
    client = client_on(server)
    model = GeminiModel(client=client, upload_over=10)
    run = way.run(Agent(model, limits=Limits(seconds=0.3)), ["a", video])
    assert run.stop == "seconds"
    assert server.requests == []
    files.released.set()
    client.close()


def test_what_a_client_of_the_users_is_refused_is_told(
    way: Way, server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.looks, files.faults = 1, {"GET": [403]}
    client = client_on(server)
    with pytest.raises(ModelError, match="403"):
        way.run(Agent(GeminiModel(client=client, upload_over=10)), ["a", video])
    client.close()


def test_vertex_ai_keeps_no_files(video: Path) -> None:
    credentials: Any = __import__("google.auth.credentials").auth.credentials.AnonymousCredentials()
    client = genai.Client(vertexai=True, project="p", location="l", credentials=credentials)
    agent = Agent(GeminiModel(client=client, upload_over=10))
    with pytest.raises(
        ConfigurationError, match=r"'talk.mp4' has 1,024,012 bytes.*Vertex AI keeps no files.*gs://"
    ):
        agent.run(["a", video])
    with pytest.raises(ConfigurationError, match="gs://"):
        agent.upload(video)
    client.close()


def test_other_models_get_it_in_the_request(video: Path) -> None:
    model = ScriptedModel(["ok"])
    Agent(model).run(["a", video])
    assert model.requests[0]["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "video/mp4"
    with pytest.raises(ConfigurationError, match="'scripted' takes no uploads"):
        Agent(model).upload(video)


def test_a_part_that_comes_as_data_uploads_nothing_of_this_machine(
    server: GeminiServer, files: FilesApi, video: Path
) -> None:
    server.script(["ok"] * 2)
    agent = Agent(model_on(server))
    agent.run({"file_data": {"file_uri": f"file://{video}", "mime_type": "video/mp4"}})
    agent.run([{"role": "user", "parts": [{"fileData": {"fileUri": str(video)}}]}])
    assert files.kept == []


def test_the_time_of_the_run_bounds_it(way: Way, server: GeminiServer, files: FilesApi, video: Path) -> None:
    files.looks = 10**9
    model = model_on(server)
    agent = Agent(model, limits=Limits(seconds=0.3), retry=RetryPolicy(attempts=1))
    run = way.run(agent, ["a", video])
    assert run.stop == "seconds"
    assert server.requests == []
    model.close()


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_files, "MOST_INLINE", 3000)


def pictures(tmp_path: Path, count: int) -> list[Path]:
    """Make pictures of which two go into a request of `little_room`."""
    paths = [tmp_path / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]) * 1000)
    return paths


def test_small_files_that_are_too_much_together_are_uploaded(
    way: Way, server: GeminiServer, files: FilesApi, tmp_path: Path, little_room: None
) -> None:
    store = SQLiteStore(tmp_path / "chats.db")
    server.script(["One.", "Two.", "Three.", "Four."])
    agent = Agent(model_on(server))
    chat = way.chat(agent, store)
    one, two, three, four = pictures(tmp_path, 4)
    chat.send(["What is it?", one, two])
    assert not files.kept
    chat.send(["And this?", three])
    chat.send(["And this?", four])
    chat.send("So?")
    assert [file.data for file in files.kept] == [path.read_bytes() for path in (one, two, three, four)]
    kinds = [
        ["fileData" in p for c in r.body["contents"] for p in c["parts"] if "text" not in p]
        for r in server.requests
    ]
    assert kinds == [[False] * 2, [True] * 3, [True] * 4, [True] * 4]
    stored = [part for message in store.load("ann").messages for part in message.content["parts"]]
    assert (
        sum("inlineData" in part for part in stored) == 4
    )  # they are sent otherwise, and stay what they are
    store.close()


def test_so_are_those_of_one_message_and_each_request_of_its_run_extends_the_last(
    way: Way, server: GeminiServer, files: FilesApi, tmp_path: Path, little_room: None
) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    server.script([calls(call("look")), "Tea."])
    run = way.run(Agent(model_on(server), tools=[look]), ["What?", *pictures(tmp_path, 3)])
    assert run.text == "Tea."
    assert len(files.kept) == 3
    assert server.requests[1].body["contents"][:1] == server.requests[0].body["contents"]
    assert not heard(way.events, PrefixChanged)


def test_those_that_were_deleted_before_their_time_are_uploaded_again_once(
    way: Way, server: GeminiServer, files: FilesApi, tmp_path: Path, little_room: None
) -> None:
    words = "You do not have permission to access the File or it may not exist."
    server.script(["One.", "Two.", *[fault(403, status="PERMISSION_DENIED", message=words)] * 9])
    store = MemoryStore()
    model = model_on(server)
    chat = way.chat(Agent(model), store)
    chat.send(["What?", *pictures(tmp_path, 3)])
    for file in files.kept:
        file.gone = True
    assert chat.send("And?").text == "Two."
    assert sent_files(server) == ["f3", "f4", "f5"]
    with pytest.raises(ModelError, match="permission"):
        chat.send("So?")
    assert len(files.kept) == 9
    model.close()


def test_where_nothing_can_be_uploaded_all_is_sent(way: Way, tmp_path: Path, little_room: None) -> None:
    model = ScriptedModel(["Tea."])
    way.run(Agent(model), ["What?", *pictures(tmp_path, 3)])
    assert sum("inlineData" in part for part in model.requests[0]["contents"][0]["parts"]) == 3


def test_data_that_cannot_be_uploaded_fails_the_run_and_one_whose_time_is_up_ends(
    way: Way, server: GeminiServer, files: FilesApi, tmp_path: Path, little_room: None
) -> None:
    files.faults["start"] = [400]
    with pytest.raises(ModelError, match="400"):
        way.run(Agent(model_on(server)), ["What?", *pictures(tmp_path, 3)])
    files.looks = 10**6
    run = way.run(Agent(model_on(server), limits=Limits(seconds=0.2)), ["What?", *pictures(tmp_path, 3)])
    assert run.stop == "seconds"
    assert not server.requests


class OddFiles(FilesApi):
    """Tells of its files something else than what they are."""

    odd: dict[str, Any]

    def _json(self, file: Any, base: str) -> Any:
        return {**super()._json(file, base), **self.odd}


@pytest.mark.parametrize("odd", [{"name": "files/\0", "state": "PROCESSING"}, {"uri": {"a": 1}}, {"uri": ""}])
def test_a_server_that_tells_of_no_file_is_the_models_fault(
    way: Way, server: GeminiServer, video: Path, odd: dict[str, Any]
) -> None:
    server.files = OddFiles()
    server.files.odd = odd
    with pytest.raises(ModelError, match=r"InvalidURL|can't use the file"):
        way.run(Agent(model_on(server)), [video, "?"])


def test_so_is_one_that_names_no_place_to_upload_to(
    server: GeminiServer, files: FilesApi, video: Path
) -> None:
    files.place = "http://[::1"
    with pytest.raises(ModelError, match="InvalidURL") as raised:
        Agent(model_on(server)).run([video, "?"])
    assert not raised.value.retryable


def test_a_type_that_no_header_takes_is_the_files_own(server: GeminiServer, video: Path) -> None:
    server.files = OddFiles()
    server.files.odd = {"mimeType": "\ud800"}
    assert Agent(model_on(server)).upload(video).mime_type == "video/mp4"
