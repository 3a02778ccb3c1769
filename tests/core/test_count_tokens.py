"""Counting what would be sent: the very request that follows, in both transports, sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai

from agentkit import (
    Agent,
    Deny,
    HistoryError,
    Hooks,
    LastTurns,
    Limits,
    ModelError,
    SQLiteStore,
    Summarize,
    TokenBudget,
    tool,
)
from agentkit.chats.chat import AsyncChat, Chat
from agentkit.core.repair import RetryPolicy
from agentkit.events import Event
from tests.helpers.gemini_server import GeminiServer, call, calls

KEY, NAME = "test-key-0123456789", "gemini-3.8-flash"
Make = Callable[..., Agent]
Runner = asyncio.Runner | None


@tool(effect="read")
def stock(sku: str) -> int:
    """Count what is in stock."""
    return len(sku)


@tool(approval=True)
def order(sku: str) -> str:
    """Order something."""
    return f"ordered {sku}"


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    if request.param == "sync":
        yield None
        return
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["own transport", "client="])
def make(
    request: pytest.FixtureRequest, server: GeminiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
    client = None if request.param == "own transport" else genai.Client(api_key=KEY)
    made: list[Any] = []

    def agent(**settings: Any) -> Agent:
        given = {"tools": [stock], "instructions": "Be brief.", "retry": RetryPolicy(attempts=2, base=0)}
        made.append(Agent(NAME, client=client, **{**given, **settings}))
        return made[-1]  # type: ignore[no-any-return]

    yield agent
    for each in made:
        if runner is None:
            each.model.close()
        else:
            runner.run(each.model.aclose())
    if client is not None and runner is not None:
        runner.run(client.aio.aclose())


def count(agent: Agent, runner: Runner, *args: Any, **options: Any) -> int:
    if runner is None:
        return agent.count_tokens(*args, **options)
    return runner.run(agent.aio.count_tokens(*args, **options))


def count_next(chat: Chat, runner: Runner, *args: Any, **options: Any) -> int:
    if runner is None:
        return chat.count_tokens(*args, **options)
    other = AsyncChat(chat._agent, chat._conversation, deps=chat._deps, **chat._options)
    return runner.run(other.count_tokens(*args, **options))


def asked(server: GeminiServer) -> list[tuple[str, Any]]:
    """List what was asked: the method, and the request that it was about without the name of the model."""
    made = []
    for each in server.requests:
        body = dict(each.body.get("generateContentRequest", each.body))
        body.pop("model", None)
        if body.get("generationConfig") == {}:  # the SDK sends one with every request that isn't a count
            del body["generationConfig"]
        made.append((each.path.rpartition(":")[2], body))
    return made


def size(request: Any) -> int:
    """Count as the server does."""
    return len(json.dumps({"model": f"models/{NAME}", **request})) // 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "history": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"text": "y"}]},
            ]
        },
        {"tools": []},
        {"tool_choice": "required"},
        {"config": {"temperature": 0.5, "max_output_tokens": 100}},
        {"config": {"speech_config": "Kore", "response_modalities": ["AUDIO"]}},
        {"output": int, "instructions": lambda ctx: f"It is turn {ctx.turn} for {ctx.deps}.", "deps": "ann"},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_what_is_counted_is_what_is_sent(
    server: GeminiServer, make: Make, runner: Runner, options: Any
) -> None:
    server.script([calls(call("stock", {"sku": "a"})) if options.get("tool_choice") else "1"])
    agent = make()
    tokens = count(agent, runner, "How many?", **options)
    agent.run("How many?", limits=Limits(turns=1), **options)
    counting, sending = asked(server)[:2]
    assert (counting[0], sending[0]) == ("countTokens", "generateContent")
    assert counting[1] == sending[1]
    assert abs(tokens - size(sending[1])) <= 1
    assert len([method for method, _ in asked(server) if method == "countTokens"]) == 1


def test_a_chat_counts_its_history_and_stays_as_it_is(
    server: GeminiServer, make: Make, runner: Runner, tmp_path: Path
) -> None:
    server.script(["One.", "Two."])
    chat = make().chat("ann", SQLiteStore(tmp_path / "chats.db"), config={"temperature": 0.5})
    empty = count_next(chat, runner, "Next")
    chat.send_message("First")
    before = chat.info, chat.get_messages(), chat.usage, chat._conversation._given
    assert count_next(chat, runner, "Next", config={"seed": 1}) > empty
    assert (chat.info, chat.get_messages(), chat.usage, chat._conversation._given) == before
    chat.send_message("Next", config={"seed": 1})
    *_, counting, sending = asked(server)
    assert counting == ("countTokens", sending[1])
    assert len(sending[1]["contents"]) == 3


def test_counting_makes_no_session(make: Make, runner: Runner, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chats.db")
    assert count_next(make().chat("ann", store), runner, "Hi") > 0
    assert store.list() == []


def test_what_the_memory_sends_is_counted(server: GeminiServer, make: Make, runner: Runner) -> None:
    server.script(["One.", "Two.", "Three."])
    chat = make().chat(memory=LastTurns(2))
    chat.send_message("First")
    chat.send_message("Second")
    count_next(chat, runner, "Third")
    chat.send_message("Third")
    *_, counting, sending = asked(server)
    assert counting == ("countTokens", sending[1])
    assert len(sending[1]["contents"]) == 3


def test_no_summary_is_made_for_a_count(server: GeminiServer, make: Make, runner: Runner) -> None:
    server.script(["One.", "Two."])
    chat = make().chat(memory=Summarize(after_turns=2, keep=1))
    chat.send_message("First")
    chat.send_message("Second")
    count_next(chat, runner, "Third")
    assert [method for method, _ in asked(server)] == ["generateContent"] * 2 + ["countTokens"]
    assert len(asked(server)[-1][1]["contents"]) == 5


def test_what_is_too_large_for_the_memory_is_counted_whole(
    server: GeminiServer, make: Make, runner: Runner
) -> None:
    chat = make().chat(memory=TokenBudget(300))
    assert count_next(chat, runner, "long " * 1000) > 1000
    assert "long long" in str(asked(server)[-1])


def test_a_chat_whose_calls_wait_says_so(server: GeminiServer, make: Make, runner: Runner) -> None:
    server.script([calls(call("order", {"sku": "a"}))])
    chat = make(tools=[order]).chat()
    assert chat.send_message("Order a").stop == "approval"
    with pytest.raises(HistoryError, match="not answered yet"):
        count_next(chat, runner, "And?")
    assert len(server.requests) == 1


def test_hooks_hear_of_a_count_and_observers_of_nothing(
    server: GeminiServer, make: Make, runner: Runner
) -> None:
    heard: list[Any] = []
    events: list[Event] = []

    def before(request: Any, ctx: Any) -> Any:
        heard.append(ctx.purpose)
        return {**request, "contents": [{"role": "user", "parts": [{"text": "another"}]}]}

    agent = make(hooks=Hooks(before_model=before), observers=[lambda event, ctx: events.append(event)])
    count(agent, runner, "Hi")
    assert heard == ["count"]
    assert "another" in str(asked(server))
    assert events == []


def test_what_cannot_be_counted_is_estimated(server: GeminiServer, make: Make, runner: Runner) -> None:
    denied = make(hooks=Hooks(before_model=lambda request, ctx: Deny("no")))
    small = count(denied, runner, "Hi")
    assert 0 < small < count(denied, runner, "long " * 1000)
    assert not server.requests
    server.key = "another"  # what is given is refused
    assert count(make(), runner, "Hi") == small
    assert len(server.requests) == 1


def test_it_is_an_error_if_there_is_no_time_for_it(server: GeminiServer, make: Make, runner: Runner) -> None:
    with pytest.raises(ModelError, match=r"not counted. The time of the run was up") as caught:
        count(make(), runner, "Hi", limits=Limits(seconds=1e-9))
    assert caught.value.retryable
    assert not server.requests
