"""Sources of tools: asked when a run begins, is resumed, and before each turn; what fails ends nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ChatManager,
    ConfigurationError,
    Limits,
    MemoryStore,
    Tool,
    ToolSource,
)
from agentkit.events import ToolsLeftOut
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import iter_declarations
from tests.helpers.ways import Way, way

__all__ = ["way"]


def made(name: str, says: str = "", **options: Any) -> Tool:
    def function() -> str:
        return says or name

    return Tool.of(function, name=name, description=f"Do {name}.", **options)


class Box(ToolSource):
    """Has what it is given, and notes when it is asked."""

    def __init__(self, *tools: Tool, name: str = "box") -> None:
        self.name = name
        self.has: Sequence[Tool] = tools
        self.raises: Exception | None = None
        self.asked = 0
        self.threads: set[int] = set()
        self.closed = 0

    def tools(self) -> Iterable[Tool]:
        self.asked += 1
        self.threads.add(threading.get_ident())
        if self.raises is not None:
            raise self.raises
        return self.has

    def close(self) -> None:
        self.closed += 1


def declared(model: ScriptedModel) -> list[list[str]]:
    return [[each["name"] for each in iter_declarations(request)] for request in model.requests]


def outputs(run: Any) -> list[Any]:
    parts = [part for content in run.contents for part in content["parts"] if "functionResponse" in part]
    return [part["functionResponse"]["response"].get("output") for part in parts]


def left_out(way: Way) -> list[ToolsLeftOut]:
    return [event for event in way.events if isinstance(event, ToolsLeftOut)]


def test_a_source_is_asked_when_a_turn_begins_and_never_when_an_agent_is_made(way: Way) -> None:
    box, model = Box(made("a")), ScriptedModel([call("a"), "done"])
    agent = Agent(model, tools=[box])
    assert (box.asked, agent.tools) == (0, ())
    run = way.run(agent, "x")
    assert (outputs(run), box.asked) == (["a"], 2)
    assert threading.get_ident() not in box.threads


@pytest.mark.parametrize("given", ["to the agent", "to the run"])
def test_what_a_source_has_anew_is_there_in_the_next_turn(way: Way, given: str) -> None:
    box = Box(made("a"))
    first = box.has

    def more(name: str) -> Callable[[Any], Any]:
        def turn(request: Any) -> Any:
            box.has = [*first, made("b")] if name == "a" else [made("b", "another")]
            return call(name)

        return turn

    model = ScriptedModel([more("a"), more("b"), "done"])
    if given == "to the agent":
        run = way.run(Agent(model, tools=[made("own"), box]), "x")
    else:
        run = way.run(Agent(model), "x", tools=[made("own"), box])
    assert declared(model) == [["own", "a"], ["own", "a", "b"], ["own", "b"]]
    assert outputs(run) == ["a", "b"]


def test_while_nothing_changes_the_beginning_of_a_request_is_the_same_object(way: Way) -> None:
    model = ScriptedModel([call("a"), call("a"), "done"])
    way.run(Agent(model, tools=[Box(made("a"))]), "x")
    assert declared(model) == [["a"]] * 3
    assert model.requests[0]["tools"] == model.requests[2]["tools"]


def test_a_tool_of_the_agents_own_wins_and_then_that_of_the_first_source(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Box(made("a", "first"), made("own", "no"), name="one"), Box(made("a", "second"), name="two")
    model = ScriptedModel([[call("own"), call("a")], "done"])
    with caplog.at_level(logging.WARNING, "agentkit.tools"):
        run = way.run(Agent(model, tools=[one, made("own"), two]), "x")
    assert outputs(run) == ["own", "first"]
    told = [f"Tools of {name!r} are left out" in caplog.text for name in ("one", "two")]
    assert told == [True, True]
    if way.streamed:
        assert [(each.source, each.reason) for each in left_out(way)] == [
            ("one", "There is a tool 'own' already."),
            ("two", "There is a tool 'a' already."),
        ]  # once, not each turn


@pytest.mark.parametrize("name", ["find_tools", "read_result"])
def test_names_of_agentkits_own_tools_are_taken(way: Way, name: str) -> None:
    model = ScriptedModel(["done"])
    way.run(Agent(model, tools=[Box(made(name), made("a"))]), "x")
    assert declared(model) == [["a"]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(AgentError("the server is away"), "the server is away"), (LookupError("secret"), "LookupError")],
)
def test_one_that_fails_gives_no_tools_and_the_run_goes_on(
    way: Way, error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    box, other = Box(made("a")), Box(made("b"), name="other")
    box.raises = error
    model = ScriptedModel([call("b"), "done"])
    with caplog.at_level(logging.WARNING, "agentkit.tools"):
        run = way.run(Agent(model, tools=[box, other]), "x")
    assert (run.text, outputs(run), box.asked) == ("done", ["b"], 1)
    assert reason in caplog.text and "secret" not in caplog.text
    if way.streamed:
        assert left_out(way) == [ToolsLeftOut("box", reason)]


def test_what_the_time_of_the_run_is_up_for_ends_it(way: Way) -> None:
    class Slow(Box):
        def tools(self) -> Iterable[Tool]:
            threading.Event().wait(1)
            return ()

    run = way.run(Agent(ScriptedModel([]), tools=[Slow()], limits=Limits(seconds=0.05)), "x")
    assert run.stop == "seconds"


@pytest.mark.parametrize("kept", ["run", "JSON", "chat"])
def test_a_run_that_is_resumed_asks_before_its_calls_run(way: Way, kept: str) -> None:
    box, store = Box(made("a", approval=True)), MemoryStore()
    agent = Agent(ScriptedModel([call("a"), "done"]), tools=[box])
    run = way.chat(agent, store).send("x") if kept == "chat" else way.run(agent, "x")
    said = {run.pending[0].call_id: Approve()}
    box.has = [made("a", "renewed", approval=True)]
    if kept == "chat":
        run = way.chat(agent, store).resume(said)
    else:
        run = way.resume(agent, run.to_json() if kept == "JSON" else run, said)
    assert outputs(run) == ["renewed"]


def test_a_name_may_be_forced_that_only_a_source_knows(way: Way) -> None:
    box, model = Box(made("a")), ScriptedModel([call("a"), "done"])
    way.run(Agent(model, tools=[box], tool_choice=["a"]), "x")
    assert model.requests[0]["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["a"]
    with pytest.raises(ConfigurationError, match="name tools"):
        Agent(model, tools=[made("b")], tool_choice=["a"])


def test_an_agent_with_a_source_that_nobody_knows_is_taken_for_the_worst_as_a_tool() -> None:
    unknown = Agent(ScriptedModel([]), name="inner", tools=[Box()]).as_tool()
    assert (unknown.effect, unknown.untrusted, unknown.sensitive) == (None, True, True)


def test_closing_an_agent_closes_its_sources() -> None:
    box = Box()
    with Agent(ScriptedModel([]), tools=[box]) as agent:
        assert box.closed == 0
    agent.close()

    async def main() -> None:
        async with agent.aio:
            pass
        await agent.aio.close()

    asyncio.run(main())
    assert box.closed == 4


def test_a_chat_manager_asks_in_each_of_its_chats() -> None:
    box, model = Box(made("a")), ScriptedModel(["one", "two"])
    chats = ChatManager(Agent(model, tools=[box]))
    for id in ("x", "y"):
        chats.create(id)
        chats.send_message(id, "hello")
        box.has = [made("b")]
    assert declared(model) == [["a"], ["b"]]


# -- tools whose results load tools


def loader(names: list[str], **options: Any) -> Tool:
    def load() -> dict[str, Any]:
        """Load."""
        return {"text": "how to", "tools": names}

    return Tool.of(load, **options)


def test_what_a_tool_names_is_declared_from_then_on_also_after_a_resume(way: Way) -> None:
    tools = [loader(["b", "zz"], loads=True), made("pay", approval=True), made("b", on_demand=True)]
    agent = Agent(ScriptedModel([call("load"), call("pay")]), tools=tools)
    run = way.run(agent, "x")
    model = ScriptedModel([call("b"), "done"])
    run = way.resume(Agent(model, tools=tools), run.to_json(), {run.pending[0].call_id: Approve()})
    assert outputs(run)[-1] == "b"
    assert declared(model)[0] == ["load", "pay", "find_tools", "b"]


def test_what_others_name_is_not(way: Way) -> None:
    model = ScriptedModel([call("load"), "done"])
    way.run(Agent(model, tools=[loader(["b"]), made("b", on_demand=True)]), "x")
    assert declared(model) == [["load", "find_tools"]] * 2
