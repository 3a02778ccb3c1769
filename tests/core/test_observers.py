"""Observers: they hear of all that happens, in order, in every way of running, and change nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, Context, Hooks, MemoryStore, ModelError, Run
from agentkit.events import (
    AgentEvent,
    Event,
    MessageAdded,
    RunFinished,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
)
from agentkit.testing import ScriptedModel, call, fault
from agentkit.wire.content import responses_of
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]


class Ear:
    """Hears of events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.contexts: list[Context[Any]] = []

    def __call__(self, event: Event, context: Context[Any]) -> None:
        self.events.append(event)
        self.contexts.append(context)

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]


def look(sku: str, ctx: Context[Any]) -> str:
    """Look."""
    ctx.progress("looking")
    return f"seen {sku}"


def looking(*observers: Any, **options: Any) -> Agent:
    return Agent(
        ScriptedModel([[call("look", sku="A")], "done"]), tools=[look], observers=observers, **options
    )


WHOLE = [TurnFinished, ToolStarted, ToolProgress, ToolFinished, TextDelta, TurnFinished, RunFinished]


def test_an_observer_hears_the_same_whichever_way_a_run_is_run(way: Way) -> None:
    ear = Ear()
    run = way.run(looking(ear), "x")
    assert ear.kinds == WHOLE
    if way.streamed:
        assert ear.events == way.events
    assert {context.run_id for context in ear.contexts} == {run.run_id}
    last: Any = ear.events[-1]
    assert last.run.to_json() == run.to_json()


def test_an_observer_hears_of_the_sends_of_a_chat(way: Way) -> None:
    ear = Ear()
    way.chat(looking(ear), MemoryStore(), id="ann").send("x")
    assert ear.kinds == WHOLE
    assert {context.session_id for context in ear.contexts} == {"ann"}


def test_an_observer_hears_what_happens_in_sub_agents_with_their_path(way: Way) -> None:
    inside, outside = Ear(), Ear()
    inner = looking(inside, name="inner")
    outer = Agent(
        ScriptedModel([[call("inner", request="?")], "done"]), tools=[inner.as_tool()], observers=[outside]
    )
    way.run(outer, "x")
    assert inside.kinds == WHOLE
    told = [event.event for event in outside.events if isinstance(event, AgentEvent)]
    assert told == [event for event in inside.events if not isinstance(event, RunFinished)]
    assert {event.path for event in outside.events if isinstance(event, AgentEvent)} == {("inner",)}


def test_an_observer_that_raises_ends_nothing_and_the_others_hear(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(event: Event, context: Context[Any]) -> None:
        raise LookupError("a bug")

    ear = Ear()
    assert way.run(looking(bad, ear), "x").text == "done"
    assert ear.kinds == WHOLE
    assert [record.exc_info is not None for record in caplog.records] == [True] * len(WHOLE)


def test_what_an_observer_does_to_an_event_changes_no_run(way: Way) -> None:
    def meddle(event: Event, context: Context[Any]) -> None:
        if isinstance(event, ToolStarted):
            event.args["sku"] = "changed"
        elif isinstance(event, ToolFinished):
            event.response["response"]["output"] = "changed"
        elif isinstance(event, MessageAdded):
            event.content["parts"].clear()

    run = way.run(looking(meddle), "x")
    assert [r["response"] for c in run.contents for r in responses_of(c)] == [{"output": "seen A"}]


@pytest.mark.parametrize("what", ["the model fails", "a hook raises", "a hook is wrong"])
def test_an_observer_hears_of_the_end_of_a_run_that_fails(way: Way, what: str) -> None:
    def hook(response: Any, context: Any) -> Any:
        if what == "a hook raises":
            raise LookupError("a bug")
        return True

    ear = Ear()
    if what == "the model fails":
        agent = Agent(ScriptedModel([fault(400)]), observers=[ear])
    else:
        agent = looking(ear, hooks=Hooks(after_tool=hook))
    with pytest.raises((ModelError, LookupError, ConfigurationError)):
        way.run(agent, "x")
    last: Any = ear.events[-1]
    assert isinstance(last, RunFinished)
    assert last.run.stop == "error"


def test_an_observer_hears_of_the_end_of_a_run_that_is_broken_off(either: Way) -> None:
    ear = Ear()
    agent = looking(ear)

    async def go() -> Run[Any]:
        async with agent.aio.stream("x") as stream:
            await anext(stream)
        return stream.run

    if either.is_async:
        run = asyncio.run(go())
    else:
        with agent.stream("x") as stream:
            next(stream)
        run = stream.run
    assert run.stop == "cancelled"
    assert ear.kinds[-1] is RunFinished


def busy(ear: Ear) -> Agent:
    """Make an agent whose run tells of calls in a sub-agent."""
    inner = Agent(
        ScriptedModel([[call("look", sku="A"), call("look", sku="B")], "inner done"]),
        name="inner",
        tools=[look],
    )
    return Agent(
        ScriptedModel([[call("inner", request="?")], "done"]), tools=[inner.as_tool()], observers=[ear]
    )


def check_whole(events: list[Event]) -> None:
    """Check that each call that begins ends, and that the run ends once, at last."""
    begun: set[tuple[Any, ...]] = set()
    for event in events:
        inner, path = (event.event, event.path) if isinstance(event, AgentEvent) else (event, ())
        if isinstance(inner, ToolStarted):
            begun.add((path, inner.call_id))
        elif isinstance(inner, ToolFinished):
            begun.remove((path, inner.call_id))
    assert not begun
    assert [event for event in events if isinstance(event, RunFinished)] == events[-1:]


def read_until(agent: Agent, count: int, is_async: bool, *, cancel: bool) -> list[Event]:
    """Read so many events; then cancel and read on, or close."""
    read: list[Event] = []

    async def go() -> None:
        async with agent.aio.stream("x") as stream:
            async for event in stream:
                read.append(event)
                if len(read) == count:
                    if not cancel:
                        break
                    stream.cancel()

    if is_async:
        asyncio.run(go())
        return read
    with agent.stream("x") as stream:
        for event in stream:
            read.append(event)
            if len(read) == count:
                if not cancel:
                    break
                stream.cancel()
    return read


@pytest.mark.parametrize("count", range(1, 16))
def test_wherever_a_stream_is_closed_observers_hear_of_each_end_once(either: Way, count: int) -> None:
    ear = Ear()
    read = read_until(busy(ear), count, either.is_async, cancel=False)
    check_whole(ear.events)
    assert ear.events[: len(read)] == read


@pytest.mark.parametrize("count", range(1, 16))
def test_wherever_a_run_is_cancelled_who_reads_on_hears_of_each_end_once(either: Way, count: int) -> None:
    ear = Ear()
    read = read_until(busy(ear), count, either.is_async, cancel=True)
    check_whole(read)
    assert ear.events == read


@pytest.mark.parametrize("count", [1, 3, 7])
def test_wherever_a_stream_is_dropped_observers_hear_of_each_end_once(either: Way, count: int) -> None:
    ear = Ear()

    async def go() -> None:
        stream = busy(ear).aio.stream("x")
        for _ in range(count):
            await anext(stream)

    if either.is_async:
        asyncio.run(go())
    else:
        stream = busy(ear).stream("x")
        for _ in range(count):
            next(stream)
        del stream
    check_whole(ear.events)
    last: Any = ear.events[-1]
    assert last.run.stop == "cancelled"


def test_a_stream_that_is_closed_twice_or_never_begun_tells_of_one_end() -> None:
    ear = Ear()
    stream = busy(ear).stream("x")
    stream.close()
    stream.close()
    stream.cancel()
    assert list(stream) == []
    check_whole(ear.events)


async def hears_later(event: Event, context: Context[Any]) -> None:
    """Hear later."""


@pytest.mark.parametrize(
    "observers", [[3], 3, ["log"], [hears_later]], ids=["numbers", "a number", "texts", "async"]
)
def test_what_is_no_observer_is_refused_when_the_agent_is_made(observers: Any) -> None:
    with pytest.raises(ConfigurationError):
        Agent(ScriptedModel([]), observers=observers)
