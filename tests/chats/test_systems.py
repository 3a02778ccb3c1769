"""Each system that people build on chat with google-genai, on the real SDK against the loopback server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.genai import types

from agentkit import (
    Agent,
    ChatManager,
    GeminiModel,
    LastTurns,
    SessionNotFound,
    SQLiteStore,
    StoreError,
    TokenBudget,
)
from agentkit.events import TextDelta
from agentkit.testing import check_history
from tests.helpers.gemini_server import GeminiServer, call, calls, text

HISTORY = [
    {"role": "user", "parts": [{"text": "My name is Ann."}]},
    {"role": "model", "parts": [{"text": "Hello Ann."}]},
]


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        yield server


@pytest.fixture
def make(server: GeminiServer) -> Callable[..., Agent]:
    model = GeminiModel(api_key="a-key", http_options={"base_url": server.url})
    return lambda **settings: Agent(model, **settings)


def sent(server: GeminiServer) -> list[Any]:
    body: Any = server.requests[-1].body
    return [part.get("text") for content in body["contents"] for part in content["parts"]]


def test_basic_chat(server: GeminiServer, make: Any) -> None:
    server.script(["Hi.", "I said hi."])
    chat = make().chat()
    assert chat.send_message("Hello!").text == "Hi."
    assert chat.send_message("What did you say?").text == "I said hi."
    assert sent(server) == ["Hello!", "Hi.", "What did you say?"]


@pytest.mark.parametrize("form", ["dicts", "types"])
def test_chat_with_history(server: GeminiServer, make: Any, form: str) -> None:
    history: Any = (
        HISTORY if form == "dicts" else [types.Content.model_validate(content) for content in HISTORY]
    )
    server.script(["Ann."])
    assert make().chat(history=history).send_message("Who am I?").text == "Ann."
    assert sent(server) == ["My name is Ann.", "Hello Ann.", "Who am I?"]


def test_streaming_chat(server: GeminiServer, make: Any) -> None:
    server.script([text("one two three", chunks=4), "again"])
    chat = make().chat()
    with chat.send_message_stream("count") as events:
        pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(pieces) == 4
    assert chat.get_history()[-1] == {"role": "model", "parts": [{"text": "one two three"}]}
    chat.send_message("more")
    assert sent(server) == ["count", "one two three", "more"]


def test_async_chat_and_async_streaming(server: GeminiServer, make: Any) -> None:
    server.script(["Hi.", text("one two three", chunks=4)])

    async def main() -> Any:
        chat = make().aio.chat()
        assert (await chat.send_message("Hello!")).text == "Hi."
        async with chat.send_message_stream("count") as events:
            pieces = [text async for text in events.texts()]
        assert len(pieces) == 4
        return await chat.get_history()

    history = asyncio.run(main())
    assert [content["parts"][0]["text"] for content in history] == ["Hello!", "Hi.", "count", "one two three"]


def test_chat_session_trims_what_is_sent_and_saves_and_loads(
    server: GeminiServer, make: Any, tmp_path: Path
) -> None:
    agent = make(tools=[len_of])
    chat = agent.chat(memory=LastTurns(2))
    for n in range(5):  # each turn has a call, which no trim may part from its response
        server.script([calls(call("len_of", {"text": "x" * n})), f"{n}"])
        assert chat.send_message(f"message {n}").text == f"{n}"
        body: Any = server.requests[-1].body
        check_history(body["contents"])
        assert len([t for t in sent(server) if t and t.startswith("message")]) <= 2
    assert len(chat.get_history()) == 20
    chat.save(tmp_path / "chat.json")
    other = agent.chat()
    other.load(tmp_path / "chat.json")
    assert other.get_history() == chat.get_history()
    (tmp_path / "bad.json").write_text((tmp_path / "chat.json").read_text()[:-20])
    with pytest.raises(StoreError):
        other.load(tmp_path / "bad.json")
    assert other.get_history() == chat.get_history()
    chat.clear()
    assert chat.get_history() == []


def len_of(text: str) -> int:
    """Count the characters of a text."""
    return len(text)


@pytest.mark.parametrize("kind", ["text", "function"])
def test_system_instructions(server: GeminiServer, make: Any, kind: str) -> None:
    server.script(["Ahoy."])
    instructions: Any = "Speak like Ann." if kind == "text" else lambda ctx: f"Speak like {ctx.deps}."
    make(instructions=instructions).chat(deps="Ann").send_message("Hello!")
    body: Any = server.requests[0].body
    assert body["systemInstruction"]["parts"] == [{"text": "Speak like Ann."}]


def test_chat_with_functions(server: GeminiServer, make: Any) -> None:
    declaration = {
        "name": "get_weather",
        "description": "Get the weather.",
        "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
    }

    def handler(city: str) -> dict[str, Any]:
        return {"city": city, "celsius": 21}

    server.script(
        [calls(call("get_weather", {"city": "Rome"}), call("len_of", {"text": "abc"})), "21 degrees, 3."]
    )
    chat = make(tools=[(declaration, handler), len_of]).chat()
    assert chat.send_message("Weather in Rome, and how long is abc?").text == "21 degrees, 3."
    body: Any = server.requests[1].body
    assert body["tools"][0]["functionDeclarations"][0]["parameters"] == declaration["parameters"]
    responses = [part["functionResponse"]["response"] for part in body["contents"][2]["parts"]]
    assert responses == [{"output": {"city": "Rome", "celsius": 21}}, {"output": 3}]


def test_token_aware_chat(server: GeminiServer, make: Any) -> None:
    def answer(body: Any) -> Any:
        said = {"role": "model", "parts": [{"text": "answer " + "word " * 40}]}
        usage = {"promptTokenCount": tokens_of(body), "candidatesTokenCount": 50}
        return {"candidates": [{"content": said, "finishReason": "STOP"}], "usageMetadata": usage}

    chat = make(instructions="Be brief.").chat(memory=TokenBudget(3_000))
    assert chat.token_usage.remaining == 3_000
    sizes = []
    for n in range(60):
        server.script([answer])
        assert chat.send_message(f"question {n} " + "word " * 40).stop is None
        body: Any = [received.body for received in server.requests if "generateContent" in received.path][-1]
        check_history(body["contents"])
        sizes.append(tokens_of(body))
        assert (chat.token_usage.current, chat.token_usage.max) == (tokens_of(body) + 50, 3_000)
        if sizes[-1] < 2_000:  # the usage of the last reply says enough
            assert not any("countTokens" in received.path for received in server.requests) or trimmed(sizes)
    assert 2_000 < max(sizes) <= 3_000
    assert len(chat.get_history()) == 120
    assert 0 < trimmed(sizes) < 8  # in steps, not at every turn
    assert sum("countTokens" in received.path for received in server.requests) < 30


def trimmed(sizes: list[int]) -> int:
    return sum(later < earlier for earlier, later in pairwise(sizes))


def tokens_of(body: Any) -> int:
    """Count as the server does."""
    return len(json.dumps({key: value for key, value in body.items() if value})) // 4


def test_chat_manager(server: GeminiServer, make: Any, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        chats = ChatManager(make(), store)
        chats.create("ann", model="gemini-3.8-flash", instructions="Answer in French.")
        chats.create("bob")
        server.script(["Bonjour.", text("Salut encore.", chunks=2), "Hello."])
        # The server under test is the agent's model; a model of the chat's own needs a key of its own.
        assert chats.send_message("ann", "Hi", model=make().model).text == "Bonjour."
        stream = chats.send_message("ann", "Hi again", stream=True, model=make().model)
        assert "".join(stream.texts()) == "Salut encore."
        chats.send_message("bob", "Hi")
        body: Any = server.requests[0].body
        assert body["systemInstruction"]["parts"] == [{"text": "Answer in French."}]
        assert "systemInstruction" not in server.requests[-1].body
        history = chats.get_history("ann")
        assert [message.content["role"] for message in history] == ["user", "model"] * 2
        assert all((message.created or 0) > 1_600_000_000 for message in history)
        exported = chats.export_session("ann")
        assert json.loads(exported)["messages"][3]["content"]["parts"] == [{"text": "Salut encore."}]
        chats.delete_session("ann")
        with pytest.raises(SessionNotFound):
            chats.get_history("ann")
        chats.import_session(exported)
        assert [m.content for m in chats.get_history("ann")] == [m.content for m in history]


def test_persistent_chat(server: GeminiServer, make: Any, tmp_path: Path) -> None:
    server.script([calls(call("len_of", {"text": "abc"})), text("Three.", sign=True), "Still three."])
    with SQLiteStore(tmp_path / "chats.db") as store:
        make(tools=[len_of]).chat("ann", store).send_message("How long is abc?")
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = make(tools=[len_of]).chat("ann", store)
        assert len(chat.get_history()) == 4
        assert chat.send_message("And now?").text == "Still three."  # the server got its signatures back
        assert len(make().chat("bob", store).get_history()) == 0
