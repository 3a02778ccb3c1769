"""What a function of the developer's raises ends the run it is of, in every way of running, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, ConfigurationError, Hooks, Run, SQLiteStore
from agentkit.events import Event, RunFinished, ToolFinished, ToolStarted
from agentkit.testing import ScriptedModel, call, check_history
from agentkit.tooling.tool import Tool
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

HOOKS = ("before_model", "after_model", "before_tool", "after_tool")
PLACES = (*HOOKS, "approver", "instructions", "choose_tools", "tool_choice")
ENDS = (GeneratorExit, StopIteration, StopAsyncIteration)
"""What means the end of a generator, where it is raised in one."""


def look() -> str:
    """Look."""
    return "seen"


def raising(error: BaseException, how: str) -> Callable[..., Any]:
    """Make a function that raises."""

    def fails(*_: Any) -> Any:
        raise error

    async def fails_later(*_: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return fails if how == "sync" else fails_later


def agent_with(place: str, function: Any, levels: int, *, approval: bool = False, **options: Any) -> Agent:
    """Make an agent that has a function in one of its places, and so many agents around it."""
    held = function if place == "approval" else approval or place == "approver"
    tool, given = Tool.of(look, approval=held), dict[str, Any]()
    if place in HOOKS:
        given["hooks"] = Hooks(**{place: function})
    elif place != "approval":
        given[place] = function
    agent = Agent(ScriptedModel([call("look"), "done"]), tools=[tool], name="inner", **given, **options)
    for level in range(levels):
        script = [call(agent.name, request="?"), "done"]
        agent = Agent(ScriptedModel(script), tools=[agent], name=f"level{level}")
    return agent


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("kind", [GeneratorExit, StopAsyncIteration])
@pytest.mark.parametrize("place", PLACES)
def test_what_would_end_a_generator_is_an_error_of_the_function_that_raised_it(
    either: Way, place: str, kind: type[BaseException], how: str
) -> None:
    with pytest.raises(RuntimeError, match=kind.__name__) as caught:
        either.run(agent_with(place, raising(kind(), how), 0), "x")
    run: Any = getattr(caught.value, "run", None)
    check_history(run.contents)
    assert run.stop == "error"


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("kind", [GeneratorExit, StopAsyncIteration, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "approver"])
def test_what_a_function_of_a_sub_agent_raises_is_an_error_of_the_call_and_holds_nobody_up(
    either: Way, place: str, kind: type[BaseException], how: str
) -> None:
    run = either.run(agent_with(place, raising(kind(), how), 1), "x")
    assert (run.text, len(run.calls)) == ("done", 1)
    assert run.calls[0].error


@pytest.mark.parametrize("kind", [*ENDS, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_tool_that_awaits_what_ended_in_an_odd_way_is_an_error_of_that_call(
    way: Way, kind: type[BaseException]
) -> None:
    if way.is_async and kind in (SystemExit, KeyboardInterrupt):
        pytest.skip("a task that raises it ends the event loop of the program")

    async def fetch() -> str:
        """Fetch."""

        async def odd() -> str:
            raise kind

        return await asyncio.gather(odd(), odd())  # type: ignore[return-value]

    run = way.run(Agent(ScriptedModel([call("fetch"), "done"]), tools=[fetch]), "x")
    assert run.text == "done"
    assert run.calls[0].error


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("place", [*PLACES, "approval"])
def test_an_exit_of_a_function_gets_out_and_has_the_run(
    either: Way, place: str, kind: type[BaseException]
) -> None:
    agent = agent_with(place, raising(kind(), "sync"), 0)
    with pytest.raises(kind) as caught:
        either.run(agent, "x")
    run: Any = getattr(caught.value, "run", None)
    check_history(run.contents)
    assert run.stop == "cancelled"


# -- in sub-agents


class Odd(Exception):
    """Nobody else's."""


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("kind", [Odd, GeneratorExit, SystemExit])
def test_what_an_approver_raises_about_a_call_in_a_sub_agent_ends_the_run_and_the_call_waits(
    either: Way, kind: type[BaseException], levels: int, outer: bool
) -> None:
    fails = raising(kind("a bug"), "sync")
    agent = agent_with(
        "instructions" if outer else "approver", "Look." if outer else fails, levels, approval=True
    )
    with pytest.raises(RuntimeError if kind is GeneratorExit else kind) as caught:
        either.run(agent, "x", **({"approver": fails} if outer else {}))
    run: Any = getattr(caught.value, "run", None)
    check_history(run.contents)
    assert [len(waiting.path) for waiting in run.pending] == [levels]
    assert run.errors == ()
    assert either.resume(agent, run.to_json(), {run.pending[0].call_id: Approve()}).text == "done"


@pytest.mark.parametrize("what", ["request", "reply", "instructions", "choose_tools", "tool_choice"])
def test_what_a_function_of_a_sub_agent_says_that_is_odd_ends_the_run_around_it_too(
    way: Way, what: str
) -> None:
    place = {"request": "before_model", "reply": "after_model"}.get(what, what)
    with pytest.raises(ConfigurationError) as caught:
        way.run(agent_with(place, lambda *_: 3, 1), "x")
    assert (caught.value.run.stop, caught.value.run.calls[0].name) == ("error", "inner")


def test_calls_in_a_sub_agent_wait_on_when_who_is_asked_about_them_can_not_be_reached(
    either: Way, tmp_path: Path
) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        agent = agent_with("instructions", "Look.", 1, approval=True)
        with pytest.raises(ConnectionError) as caught:
            either.chat(agent, store).send("x", approver=raising(ConnectionError("down"), "async"))
        left: Any = getattr(caught.value, "run", None)
        (waiting,) = either.chat(agent, store).pending
        assert [(call.name, call.path) for call in left.pending] == [("look", ("inner",))]
        assert either.chat(agent, store).resume({waiting.call_id: Approve()}).text == "done"


@pytest.mark.parametrize("error", [Odd("a bug"), ConfigurationError("odd"), StopIteration()], ids=repr)
def test_what_a_tool_of_a_sub_agent_raises_is_told_to_the_model_that_asked_it(
    way: Way, error: Exception
) -> None:
    def fails() -> None:
        """Fail."""
        raise error

    inner = Agent(
        ScriptedModel([call("look")]),
        tools=[Tool.of(fails, name="look")],
        name="inner",
        on_error="raise",
    )
    run = way.run(Agent(ScriptedModel([call("inner", request="?"), "done"]), tools=[inner]), "x")
    assert (run.text, len(run.errors)) == ("done", 1)


# -- observers


class Ear:
    """Hears of events, and raises at each of one kind."""

    def __init__(self, error: BaseException | None = None, at: type[Event] = ToolStarted) -> None:
        self.error = error
        self.at = at
        self.heard: list[Event] = []

    def __call__(self, event: Event, context: Any) -> None:
        self.heard.append(event)
        if self.error is not None and isinstance(event, self.at):
            raise self.error


@pytest.mark.parametrize("error", [ValueError(), GeneratorExit(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("levels", [0, 1])
def test_an_observer_that_fails_ends_nothing(way: Way, error: BaseException, levels: int) -> None:
    first, second = Ear(error), Ear()
    assert way.run(agent_with("instructions", "Look.", levels, observers=[first, second]), "x").text == "done"
    assert first.heard == second.heard


@pytest.mark.parametrize("at", [ToolStarted, ToolFinished])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_an_observer_ends_the_run_and_the_others_hear_of_it(
    way: Way, kind: type[BaseException], at: type[Event]
) -> None:
    first, second = Ear(kind(), at), Ear()
    with pytest.raises(kind) as caught:
        way.run(agent_with("instructions", "Look.", 0, observers=[first, second]), "x")
    run: Run[Any] = getattr(caught.value, "run", None)  # type: ignore[assignment]
    assert run.stop == "cancelled"
    check_history(run.contents)
    assert len([event for event in first.heard if isinstance(event, at)]) == 1
    assert isinstance(second.heard[-1], RunFinished)
    assert second.heard[-1].run is run
