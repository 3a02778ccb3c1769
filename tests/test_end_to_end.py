"""Whole runs on the real SDK, against a loopback server that enforces the server's rules and breaks things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google import genai

from agentkit import Agent, GeminiModel, Limits, ModelError, Run, tool
from agentkit.core.repair import RetryPolicy
from agentkit.events import ModelRetry, TextDelta
from agentkit.testing import check_history
from tests.helpers.gemini_server import GeminiServer, Scripted, call, calls, fault, reply, text
from tests.helpers.until import PATIENCE, given_time

KEY = "test-key-0123456789"
NO_WAIT = RetryPolicy(attempts=4, base=0, cap=0)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def aadd(a: int, b: int) -> int:
    """Add two numbers, async."""
    await asyncio.sleep(0)
    return a + b


@tool(effect="write")
def note(text: str) -> str:
    """Write a note."""
    return text.upper()


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


async def _astream(agent: Agent, *args: Any, **options: Any) -> Run:
    async with agent.aio.stream(*args, **options) as events:
        return await events.drain()


WAYS: dict[str, Callable[..., Run]] = {
    "sync": lambda agent, *args, **options: agent.run(*args, **options),
    "stream": lambda agent, *args, **options: agent.stream(*args, **options).drain(),
    "async": lambda agent, *args, **options: asyncio.run(agent.aio.run(*args, **options)),
    "astream": lambda agent, *args, **options: asyncio.run(_astream(agent, *args, **options)),
}


@pytest.fixture(params=list(WAYS))
def go(request: pytest.FixtureRequest, server: GeminiServer, no_thread_left: None) -> Callable[..., Run]:
    """Run a script in each of the four ways; every history that comes of it is checked."""

    def run(script: list[Scripted], question: Any = "go", **settings: Any) -> Run:
        server.script(script)
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        agent = Agent(model, **{"tools": [add, aadd, note], "retry": NO_WAIT, **settings})
        try:
            made: Run = WAYS[request.param](agent, question)
        except ModelError as error:
            assert error.run is not None
            check_history(error.run.contents)
            raise
        finally:
            model.close()
        check_history(made.contents, signatures=True)
        assert server.left == 0 or made.stop == "seconds"
        return made

    return run


def outputs(run: Run) -> list[Any]:
    parts = [part for content in run.contents for part in content["parts"]]
    return [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]


def test_signed_parallel_and_sequential_calls_end_in_an_answer(go: Callable[..., Run]) -> None:
    script = [
        calls(
            call("add", {"a": 1, "b": 2}),
            call("aadd", {"a": 3, "b": 4}),
            thought="two sums",
            text="Let me see.",
        ),
        calls(call("note", {"text": "ten"})),
        text("The sums are 3 and 7.", chunks=4, sign=True),
    ]
    run = go(script, instructions="Be exact.", config={"thinking_config": {"include_thoughts": True}})
    assert run.text == "The sums are 3 and 7."
    assert outputs(run) == [{"output": 3}, {"output": 7}, {"output": "TEN"}]
    assert (run.usage.requests, run.usage.total_tokens) == (3, 45)


def test_a_chat_goes_on_with_all_signatures_in_place(server: GeminiServer) -> None:
    server.script(
        [
            calls(call("add", {"a": 1, "b": 2})),
            text("3", sign=True),
            calls(call("add", {"a": 3, "b": 2})),
            "5",
        ]
    )
    agent = Agent(GeminiModel(api_key=KEY, http_options={"base_url": server.url}), tools=[add])
    chat = agent.chat()
    assert chat.send_message("1 + 2?").text == "3"
    with chat.send_message_stream("And 2 more?") as events:
        assert "".join(events.texts()) == "5"
    other = agent.chat(history=chat.get_history())
    server.script(["bye"])
    assert other.send_message("Thanks").text == "bye"


@pytest.mark.parametrize("id", [None, "same"])
def test_calls_without_ids_and_with_the_same_id_are_answered_one_by_one(
    go: Callable[..., Run], id: Any
) -> None:
    script = [calls(*[call("add", {"a": n, "b": 0}, id=id) for n in range(3)]), "done"]
    assert outputs(go(script)) == [{"output": 0}, {"output": 1}, {"output": 2}]


def test_eight_parallel_calls_and_a_call_to_a_tool_that_does_not_exist(go: Callable[..., Run]) -> None:
    script = [calls(*[call("aadd", {"a": n, "b": 1}) for n in range(8)], call("ad", {})), "done"]
    *sums, unknown = outputs(go(script))
    assert sums == [{"output": n + 1} for n in range(8)]
    assert "add" in unknown["error"]


@pytest.mark.parametrize(
    "broken",
    [
        fault(429, retry_delay="0.01s"),
        fault(503),
        fault(500),
        fault(408),
        fault("reset"),
        fault("reset", after="headers"),
        fault("not-json"),
        fault("bad-sse"),
        fault("empty"),
        fault("malformed-call"),
        reply([], finish="STOP"),
    ],
    ids=lambda f: getattr(f, "kind", "no-parts"),
)
@pytest.mark.parametrize("position", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_passing_fault_in_any_turn_changes_nothing_of_the_outcome(
    go: Callable[..., Run], broken: Any, position: int
) -> None:
    script: list[Any] = [
        calls(call("add", {"a": 1, "b": 2})),
        calls(call("note", {"text": "x"})),
        text("done"),
    ]
    script.insert(position, broken)
    run = go(script)
    assert (run.text, run.stop) == ("done", None)
    assert outputs(run) == [{"output": 3}, {"output": "X"}]


@pytest.mark.parametrize("position", [0, 1])
def test_a_truncated_reply_is_never_taken_for_a_whole_one(go: Callable[..., Run], position: int) -> None:
    script: list[Any] = [calls(call("add", {"a": 1, "b": 2})), text("done")]
    script.insert(position, fault("truncated"))
    try:
        run = go(script)
    except ModelError as error:  # streamed text that was shown can't be taken back
        assert error.retryable
        assert error.run is not None
        assert len(error.run.contents) == 1 + 2 * position
    else:
        assert run.text == "done"


def test_a_fault_that_lasts_ends_in_a_typed_error_that_has_what_there_was(go: Callable[..., Run]) -> None:
    with pytest.raises(ModelError) as caught:
        go([calls(call("add", {"a": 1, "b": 2})), *[fault(503, message="overloaded")] * 4])
    assert caught.value.code == 503
    assert caught.value.run is not None
    assert outputs(caught.value.run) == [{"output": 3}]
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_request_that_is_refused_is_not_repeated(go: Callable[..., Run], server: GeminiServer) -> None:
    with pytest.raises(ModelError, match="no such field"):
        go([fault(400, message="no such field")])
    assert len(server.requests) == 1


def test_a_blocked_prompt_and_unknown_finish_reasons_stop_the_run(go: Callable[..., Run]) -> None:
    run = go([fault("blocked", reason="SAFETY")])
    assert (run.stop, run.finish_reason) == ("refused", "SAFETY")


def test_an_unknown_finish_reason_stops_the_run_and_keeps_the_text(go: Callable[..., Run]) -> None:
    run = go([reply([{"text": "so far"}], finish="BRAND_NEW_REASON")])
    assert (run.stop, run.finish_reason, run.text) == ("other", "BRAND_NEW_REASON", "so far")


@pytest.mark.parametrize(
    "broken", [fault("hang"), fault("hang", after="headers"), fault("trickle", every=0.02)]
)
def test_a_server_that_hangs_is_left_when_the_time_is_up(
    go: Callable[..., Run], server: GeminiServer, broken: Any
) -> None:
    began = time.monotonic()

    def left(seconds: float) -> Run:
        server.forget()
        return go([calls(call("add", {"a": 1, "b": 2})), broken], limits=Limits(seconds=seconds))

    run = given_time(left, outputs, seconds=0.5)
    assert run.stop == "seconds"
    assert outputs(run) == [{"output": 3}]
    assert time.monotonic() - began < PATIENCE / 2
    server.wait(lambda: server.open_connections == 0)


def test_retries_are_seen_and_wait_as_the_server_asks(server: GeminiServer) -> None:
    server.script([fault(429, retry_delay="0.2s"), fault(503, retry_after="0"), "ok"])
    agent = Agent(
        GeminiModel(api_key=KEY, http_options={"base_url": server.url}), retry=RetryPolicy(base=0, cap=0)
    )
    began = time.monotonic()
    with agent.stream("x") as events:
        retries = [event for event in events if isinstance(event, ModelRetry)]
    assert [event.attempt for event in retries] == [2, 3]
    assert 0.2 <= retries[0].delay < 1
    assert time.monotonic() - began >= 0.2


def test_breaking_off_a_stream_closes_the_connection_at_once(server: GeminiServer) -> None:
    server.script([text("a b c d e f g h", chunks=8, delay=60)])
    agent = Agent(GeminiModel(api_key=KEY, http_options={"base_url": server.url}))
    with agent.stream("x") as events:
        for event in events:
            if isinstance(event, TextDelta):
                break
    server.wait(lambda: server.disconnects == 1)
    assert events.run.stop == "cancelled"


def test_cancelling_a_task_closes_the_connection_at_once(server: GeminiServer) -> None:
    server.script([fault("hang")])
    agent = Agent(GeminiModel(api_key=KEY, http_options={"base_url": server.url}))

    async def main() -> None:
        task = asyncio.create_task(agent.aio.run("x"))
        await asyncio.to_thread(server.wait, lambda: len(server.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    server.wait(lambda: server.disconnects == 1)


def test_a_ready_client_is_used_as_it_is(server: GeminiServer) -> None:
    server.script([calls(call("add", {"a": 1, "b": 2})), text("3", chunks=2)] * 2)
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=server.url))
    agent = Agent("gemini-3.8-flash", tools=[add], client=client)
    assert agent.run("1 + 2?").text == "3"
    with agent.stream("1 + 2?") as events:
        assert "".join(events.texts()) == "3"
    client.close()


def test_the_sdks_own_chat_history_is_taken_over(server: GeminiServer) -> None:
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=server.url))
    server.script(["hello Ann", "You are Ann."])
    theirs = client.chats.create(model="gemini-3.8-flash")
    theirs.send_message("I am Ann.")
    chat = Agent("gemini-3.8-flash", client=client).chat(history=theirs.get_history())
    assert chat.send_message("Who am I?").text == "You are Ann."
    assert len(server.requests[-1].body["contents"]) == 3
    client.close()
