"""Conversations: what was said is sent along, and a send that fails leaves the history as it was."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from google.genai import types

from agentkit import Agent, AgentError, ConfigurationError, HistoryError, ModelError
from agentkit.events import ToolStarted
from agentkit.testing import ScriptedModel, call, check_history, fault
from agentkit.wire.content import Request, model_content, user_content

HISTORY: Any = [
    {"role": "user", "parts": [{"text": "Hi, I am Ann."}]},
    {"role": "model", "parts": [{"text": "Hello Ann."}]},
]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_basic_chat_sends_earlier_messages_with_each_request() -> None:
    model = ScriptedModel(["one", "two"])
    chat = Agent(model).chat()
    assert chat.send_message("first").text == "one"
    assert chat.send_message("second").text == "two"
    assert list(model.requests[1]["contents"]) == [
        user_content("first"),
        model_content("one"),
        user_content("second"),
    ]
    assert chat.get_history() == [*model.requests[1]["contents"], model_content("two")]


@pytest.mark.parametrize(
    "history",
    [HISTORY, [types.Content.model_validate(content) for content in HISTORY]],
    ids=["dicts", "types"],
)
def test_chat_with_history_goes_on_from_it(history: Any) -> None:
    model = ScriptedModel(["You are Ann."])
    Agent(model).chat(history=history).send_message("Who am I?")
    assert model.requests[0]["contents"][:2] == HISTORY


def test_a_history_that_breaks_a_rule_is_refused_at_the_door() -> None:
    with pytest.raises(HistoryError, match="starts with a content of the user"):
        Agent(ScriptedModel([])).chat(history=HISTORY[1:])


def test_streaming_chat_keeps_the_same_history_as_without_streaming() -> None:
    def chat(stream: bool) -> Any:
        chat = Agent(ScriptedModel(["hi there", call("add", a=1, b=2), "it is three"]), tools=[add]).chat()
        for message in ("hello", "1 + 2?"):
            if stream:
                with chat.send_message_stream(message) as events:
                    "".join(events.texts())
            else:
                chat.send_message(message)
        return chat.get_history()

    assert chat(stream=True) == chat(stream=False)
    assert len(chat(stream=True)) == 6


def test_async_chat_and_async_streaming_keep_it_too() -> None:
    async def main() -> Any:
        chat = Agent(
            ScriptedModel(["hi there", call("add", a=1, b=2), "it is three"]), tools=[add]
        ).aio.chat()
        assert (await chat.send_message("hello")).text == "hi there"
        async with chat.send_message_stream("1 + 2?") as events:
            assert "".join([text async for text in events.texts()]) == "it is three"
        assert chat.usage.requests == 3
        return await chat.get_history()

    history = asyncio.run(main())
    check_history(history)
    assert [content["role"] for content in history] == ["user", "model"] * 3


def test_system_instructions_and_functions_work_in_a_chat() -> None:
    model = ScriptedModel([call("add", a=1, b=2), "3"])
    chat = Agent(model, instructions="Be exact.", tools=[add]).chat()
    assert chat.send_message("1 + 2?").text == "3"
    assert model.requests[1]["systemInstruction"]["parts"] == [{"text": "Be exact."}]
    assert chat.usage.requests == 2


def test_deps_of_the_chat_reach_every_message_unless_it_brings_its_own() -> None:
    seen: list[Any] = []

    def note(ctx: Any) -> str:
        seen.append(ctx.deps)
        return "be brief"

    chat = Agent(ScriptedModel(["a", "b"]), instructions=note).chat(deps="chat")
    chat.send_message("x")
    chat.send_message("x", deps="message")
    assert seen == ["chat", "message"]


def test_a_message_that_fails_leaves_no_trace() -> None:
    chat = Agent(ScriptedModel(["one", fault(400), "two"])).chat()
    chat.send_message("first")
    before = chat.get_history()
    with pytest.raises(ModelError):
        chat.send_message("second")
    assert chat.get_history() == before
    assert chat.send_message("second again").text == "two"


def test_a_stream_broken_off_keeps_whole_steps_and_nothing_of_the_rest() -> None:
    chat = Agent(ScriptedModel(["one two three", call("add", a=1, b=2)]), tools=[add]).chat()
    with chat.send_message_stream("first") as events:
        for _ in events.texts():
            break
    assert chat.get_history() == []
    with chat.send_message_stream("1 + 2?") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                break
    check_history(chat.get_history())
    assert len(chat.get_history()) == 3


def test_a_stream_that_is_dropped_lets_the_next_message_in() -> None:
    chat = Agent(ScriptedModel(["one two", "three"])).chat()
    for _ in chat.send_message_stream("first").texts():
        break
    chat.send_message_stream("never begun")
    assert chat.send_message("second").text == "three"


def test_sending_while_an_answer_is_streamed_in_the_same_thread_is_refused_not_a_deadlock() -> None:
    chat = Agent(ScriptedModel(["one two", "three"])).chat()
    with chat.send_message_stream("first") as events:
        next(iter(events))
        with pytest.raises(AgentError, match="still being streamed"):
            chat.send_message("second")
    assert chat.send_message("second").text == "three"


def test_the_same_task_is_told_so_in_an_async_chat() -> None:
    async def main() -> str:
        chat = Agent(ScriptedModel(["one two", "three"])).aio.chat()
        async with chat.send_message_stream("first") as events:
            async for _ in events:
                with pytest.raises(AgentError, match="still being streamed"):
                    await chat.send_message("second")
                break
        return (await chat.send_message("second")).text

    assert asyncio.run(main()) == "three"


def test_sends_from_threads_wait_for_each_other() -> None:
    def echo(request: Request) -> str:
        return "to " + (request["contents"][-1]["parts"][0].get("text") or "")

    chat = Agent(ScriptedModel([echo] * 20)).chat()
    threads = [threading.Thread(target=chat.send_message, args=(f"{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [content["parts"][0]["text"] for content in chat.get_history()]
    assert sorted(texts[::2], key=int) == [str(n) for n in range(20)]
    assert texts[1::2] == [f"to {text}" for text in texts[::2]]


def test_sends_of_tasks_wait_for_each_other() -> None:
    async def main() -> Any:
        chat = Agent(ScriptedModel([str(n) for n in range(5)])).aio.chat()
        await asyncio.gather(*[chat.send_message(f"m{n}") for n in range(5)])
        return await chat.get_history()

    history = asyncio.run(main())
    assert [content["parts"][0]["text"] for content in history[1::2]] == ["0", "1", "2", "3", "4"]


def test_a_chat_takes_no_second_history() -> None:
    with pytest.raises(ConfigurationError, match="its own history"):
        Agent(ScriptedModel([])).chat().send_message("x", history=HISTORY)
