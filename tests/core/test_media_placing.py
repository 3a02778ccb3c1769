"""Media of results stand where the model that is asked takes them, whoever that is (rule 10)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, GeminiModel, Hooks, Media, SQLiteStore
from agentkit.core.history import History
from agentkit.core.repair import RetryPolicy
from agentkit.memory.turns import LastTurns
from agentkit.stores.message import Message
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import (
    Part,
    call_part,
    encode_request,
    keep,
    model_content,
    response_part,
    user_content,
)
from agentkit.wire.history import check
from tests.helpers.gemini_server import GeminiServer, calls, fault, text
from tests.helpers.gemini_server import call as wire_call
from tests.helpers.runners import Runner, go

__all__ = ["go"]

KEY = "test-key-0123456789"
NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"
PNG, WAV = b"\x89PNG\r\n\x1a\n....", b"RIFF....WAVE"


def draw(n: int) -> list[Any]:
    """Draw."""
    return [f"picture {n}", Media(PNG, "image/png", f"{n}.png")]


def play() -> Any:
    """Play."""
    return {"sound": WAV, "file": {"fileData": {"fileUri": "gs://a/b.pdf", "mimeType": "application/pdf"}}}


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


@pytest.fixture
def models(server: GeminiServer) -> Iterator[Callable[..., list[GeminiModel]]]:
    made: list[GeminiModel] = []

    def make(*names: str) -> list[GeminiModel]:
        new = [GeminiModel(name, api_key=KEY, http_options={"base_url": server.url}) for name in names]
        made.extend(new)
        return new

    yield make
    for model in made:
        model.close()


DRAWS = calls(wire_call("draw", {"n": 1}), wire_call("play", {}), wire_call("draw", {"n": 2}))
PICTURE = {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
SOUND = {"mimeType": "audio/wav", "data": base64.b64encode(WAV).decode()}
FILE = {"mimeType": "application/pdf", "fileUri": "gs://a/b.pdf"}


def where(content: Any) -> list[Any]:
    """List what a content of responses holds: of a response the kinds in it, else the text or the media."""
    found: list[Any] = []
    for part in content["parts"]:
        response = part.get("functionResponse")
        if response is not None:
            blobs = [each.get("inlineData") or each.get("fileData") for each in response.get("parts", ())]
            found.append([blob["mimeType"] for blob in blobs])
        else:
            found.append(part.get("text") or part.get("inlineData") or part.get("fileData"))
    return found


INSIDE = [
    ["image/png"], ["application/pdf"], ["image/png"],
    "audio/wav, of the response of 'play', part 2:", SOUND,
]  # fmt: skip
BEHIND = [
    [], [], [],
    "1.png, of the response of 'draw', part 1:", PICTURE,
    "audio/wav, of the response of 'play', part 2:", SOUND,
    "application/pdf, of the response of 'play', part 2:", FILE,
    "2.png, of the response of 'draw', part 3:", PICTURE,
]  # fmt: skip


@pytest.mark.parametrize(("name", "placed"), [(NEW, INSIDE), (OLD, BEHIND)])
def test_media_are_where_a_model_takes_them(
    go: Runner, server: GeminiServer, models: Any, name: str, placed: list[Any]
) -> None:
    server.script([DRAWS, text("Drawn."), text("Again.")])
    agent = Agent(models(name), tools=[draw, play])
    run = go(agent, "x")
    assert run.text == "Drawn."
    assert where(server.requests[1].body["contents"][2]) == placed
    kept: Any = run.contents[2]["parts"]
    assert [len(part["functionResponse"].get("parts", ())) for part in kept] == [1, 2, 1]
    go(agent, "y", history=run.contents)
    assert where(server.requests[2].body["contents"][2]) == placed


@pytest.mark.parametrize(("first", "second", "placed"), [(NEW, OLD, BEHIND), (OLD, NEW, INSIDE)])
def test_a_stand_in_gets_them_where_it_takes_them(
    go: Runner, server: GeminiServer, models: Any, first: str, second: str, placed: list[Any]
) -> None:
    server.script([DRAWS, fault(503)], model=first)
    server.script([text("Drawn.")], model=second)
    agent = Agent(models(first, second), tools=[draw, play], retry=RetryPolicy(attempts=1))
    assert go(agent, "x").text == "Drawn."
    assert where(server.requests[2].body["contents"][2]) == placed


@pytest.mark.parametrize("memory", [None, LastTurns(5)])
def test_a_chat_that_is_reopened_with_another_model_has_them_where_that_takes_them(
    server: GeminiServer, models: Any, memory: Any, tmp_path: Path
) -> None:
    server.script([DRAWS, text("Drawn."), text("Older."), text("Newer.")])
    with SQLiteStore(tmp_path / "chats.db") as store:
        for name in (NEW, OLD, NEW):
            Agent(models(name), tools=[draw, play]).chat("ann", store, memory=memory).send_message("x")
    assert [where(request.body["contents"][2]) for request in server.requests[1:]] == [INSIDE, BEHIND, INSIDE]


def test_a_hook_sees_them_as_they_are_kept_and_may_send_others(
    go: Runner, server: GeminiServer, models: Any
) -> None:
    seen: list[Any] = []

    def before(request: Any, ctx: Any) -> None:
        if ctx.turn == 1:
            seen.extend(where(request["contents"][2]))
            request["contents"][2]["parts"][0]["functionResponse"]["parts"] *= 2

    server.script([DRAWS, text("Drawn.")])
    go(Agent(models(OLD), tools=[draw, play], hooks=Hooks(before_model=before)), "x")
    assert seen == [["image/png"], ["audio/wav", "application/pdf"], ["image/png"]]
    assert where(server.requests[1].body["contents"][2]) == [*BEHIND[:5], *BEHIND[3:]]


def test_the_picture_of_a_sub_agent_reaches_the_outer_model(
    go: Runner, server: GeminiServer, models: Any
) -> None:
    picture: Part = {"inlineData": {"mimeType": "image/png", "data": PICTURE["data"]}}
    painter = Agent(ScriptedModel([["Here.", picture]]), name="painter")
    server.script([calls(wire_call("painter", {"request": "a cat"})), text("A cat.")])
    assert go(Agent(models(OLD), tools=[painter.as_tool()]), "x").text == "A cat."
    assert where(server.requests[1].body["contents"][2])[2] == PICTURE


def test_a_model_of_which_nothing_is_known_gets_what_was_returned(go: Runner) -> None:
    model = ScriptedModel([call("draw", n=1), "Drawn."])
    run = go(Agent(model, tools=[draw]), "x")
    assert model.requests[1]["contents"][2] == run.contents[2]


def test_a_history_with_media_is_made_and_encoded_once_for_each_kind_of_model(models: Any) -> None:
    history = History([Message(content=user_content("x"))])
    responses = response_part({"name": "draw"}, {"output": "done"}, [{"inlineData": PICTURE}])
    old, new = models(OLD, NEW)
    sent: list[Any] = []
    for _ in range(3):
        history.add(Message(content=model_content(call_part("draw"))))
        history.add(Message(content=keep(user_content(responses))))
        request: Any = {"contents": history.whole()}
        taken = history.taken_by(old, request, ())
        sent.append(taken["contents"])
        assert encode_request(taken) == encode_request({"contents": list(taken["contents"])})
        assert history.taken_by(new, request, ()) is request
        check(history.contents)
    assert sent[0][2] is sent[1][2] is sent[2][2]
