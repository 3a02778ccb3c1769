"""What a function of the developer's raises ends the run it is of, in every way of running, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Hooks, Run
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
