"""What the next turn has: functions of the context that are asked before each turn of the model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, Context, Limits, Tool, ToolRegistry
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import text_of
from tests.helpers.runners import Runner, go

__all__ = ["go"]


def look(n: int = 0) -> str:
    """Look."""
    return f"seen {n}"


def change(to: str, ctx: Context[Any]) -> str:
    """Change what the agent is about."""
    ctx.deps["of"] = to
    return "changed"


def told(model: ScriptedModel) -> list[str | None]:
    """List the instructions of the requests."""
    found = [request.get("systemInstruction") for request in model.requests]
    return [text_of(each) if each else None for each in found]


def calling(model: ScriptedModel) -> list[Any]:
    """List the modes of the requests."""
    return [request.get("toolConfig", {}).get("functionCallingConfig") for request in model.requests]


def either(kind: str, function: Any) -> Any:
    """Make a function async, or leave it."""

    async def ask(ctx: Context[Any]) -> Any:
        await asyncio.sleep(0)
        return function(ctx)

    return function if kind == "sync" else ask


kinds = pytest.mark.parametrize("kind", ["sync", "async"])
NAMES = {"a": ["change", "look"], "b": ["change"]}


def agent_of(kind: str, *script: Any, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    settings: dict[str, Any] = {
        "tools": [look, change],
        "instructions": either(kind, lambda ctx: f"You are {ctx.deps['of']} at {ctx.turn}."),
        "choose_tools": either(kind, lambda ctx: NAMES[ctx.deps["of"]]),
    }
    return Agent(model, **settings | options), model


@kinds
def test_instructions_are_asked_for_each_turn_along_with_the_tools(go: Runner, kind: str) -> None:
    agent, model = agent_of(kind, call("look"), call("change", to="b"), call("look"), "Done.")
    run = go(agent, "x", deps={"of": "a"})
    assert told(model) == ["You are a at 0.", "You are a at 1.", "You are b at 2.", "You are b at 3."]
    declared = [
        [d["name"] for d in request["tools"][0]["functionDeclarations"]] for request in model.requests
    ]
    assert declared == [["look", "change"]] * 2 + [["change"]] * 2
    assert run.text == "Done."


@kinds
def test_they_may_come_and_go(go: Runner, kind: str) -> None:
    texts = ["Be kind.", None, "", "Be kind."]
    function = either(kind, lambda ctx: texts[ctx.turn])
    agent, model = agent_of(kind, *[call("look", n=n) for n in range(3)], "Done.", instructions=function)
    go(agent, "x", deps={"of": "a"})
    assert told(model) == ["Be kind.", None, None, "Be kind."]


@kinds
def test_the_last_turn_of_a_limit_has_its_instructions_too(go: Runner, kind: str) -> None:
    agent, model = agent_of(kind, call("change", to="b"), "Done.", limits=Limits(turns=1, on_limit="answer"))
    assert go(agent, "x", deps={"of": "a"}).text == "Done."
    assert told(model) == ["You are a at 0.", "You are b at 1."]


@kinds
def test_instructions_of_a_sub_agent_are_asked_for_each_turn(go: Runner, kind: str) -> None:
    inner, model = agent_of(kind, call("change", to="b"), "Changed.", name="inner")
    outer = Agent(ScriptedModel([call("inner", request="go"), "Done."]), tools=[inner.as_tool()])
    assert go(outer, "x", deps={"of": "a"}).text == "Done."
    assert told(model) == ["You are a at 0.", "You are b at 1."]


@kinds
def test_a_resumed_run_has_the_instructions_of_what_its_calls_have_changed(kind: str) -> None:
    from agentkit import Approve

    held = Tool.of(change, approval=True)
    agent, model = agent_of(kind, call("change", to="b"), "Done.", tools=[look, held])
    run = agent.run("x", deps={"of": "a"})
    agent.resume(run.to_json(), {run.pending[0].call_id: Approve()}, deps={"of": "a"})
    assert told(model) == ["You are a at 0.", "You are b at 0."]


def test_instructions_that_are_no_text_are_told_so_in_any_turn(go: Runner) -> None:
    agent, _ = agent_of("sync", call("look"), instructions=lambda ctx: ctx.turn or "Be kind.")
    with pytest.raises(ConfigurationError, match="instructions returned int"):
        go(agent, "x", deps={"of": "a"})


# -- calls that must be made -----------------------------------------------------------------------------------------


@kinds
def test_a_function_forces_calls_in_whatever_turn_it_likes(go: Runner, kind: str) -> None:
    choices: list[Any] = ["auto", ["look"], "required", "none", None]
    script = [*[call("look", n=n) for n in range(4)], "Done."]
    choose = either(kind, lambda ctx: choices[ctx.turn])
    agent, model = agent_of(kind, *script, choose_tools=None, tool_choice=choose)
    assert go(agent, "x", deps={"of": "a"}).text == "Done."
    any_of_all, one = {"mode": "ANY"}, {"mode": "ANY", "allowedFunctionNames": ["look"]}
    assert calling(model) == [None, one, any_of_all, {"mode": "NONE"}, None]


@pytest.mark.parametrize("on_limit", ["stop", "answer"])
def test_twenty_forced_turns_end_at_the_limit(go: Runner, on_limit: Any) -> None:
    script = [*[call("look", n=n) for n in range(20)], "Done."]
    limits = Limits(turns=20, on_limit=on_limit)
    agent, model = agent_of("sync", *script, tool_choice=lambda ctx: "required", limits=limits)
    run = go(agent, "x", deps={"of": "a"})
    assert calling(model)[:20] == [{"mode": "ANY"}] * 20
    assert (run.limit, run.text) == ("turns", "Done." if on_limit == "answer" else "")
    assert calling(model)[20:] == ([{"mode": "NONE"}] if on_limit == "answer" else [])


def test_a_function_that_may_force_calls_for_ever_is_refused(go: Runner) -> None:
    agent, model = agent_of("sync", tool_choice=lambda ctx: "required", limits=Limits(turns=None))
    with pytest.raises(ConfigurationError, match="never ends by itself"):
        go(agent, "x", deps={"of": "a"})
    assert model.requests == []


@pytest.mark.parametrize("said", ["always", ["nothing"], [], 3, look])
def test_a_choice_that_is_none_is_told_so(go: Runner, said: Any) -> None:
    agent, _ = agent_of("sync", tool_choice=lambda ctx: said)
    with pytest.raises(ConfigurationError, match="tool_choice="):
        go(agent, "x", deps={"of": "a"})


@pytest.mark.parametrize("as_function", [False, True])
def test_a_tool_on_demand_that_is_forced_is_declared_and_stays_so(go: Runner, as_function: bool) -> None:
    many = ToolRegistry("many").merge([Tool.of(look), Tool.of(change)]).on_demand()
    choice: Any = (lambda ctx: ["look"] if ctx.turn == 0 else None) if as_function else ["look"]
    model = ScriptedModel([call("look"), "Seen.", "Again."])
    agent = Agent(model, tools=[many], tool_choice=choice)
    run = go(agent, "x")
    assert calling(model) == [{"mode": "ANY", "allowedFunctionNames": ["look"]}, None]
    go(Agent(model, tools=[many]), "y", history=run.contents)
    declared = [
        [d["name"] for d in request["tools"][0]["functionDeclarations"]] for request in model.requests
    ]
    assert declared == [["find_tools", "look"]] * 3


def test_a_run_that_was_given_a_function_says_so_when_it_is_resumed_from_json() -> None:
    from agentkit import Approve

    agent, _ = agent_of("sync", call("change", to="b"), "Done.", tools=[Tool.of(change, approval=True), look])
    run = agent.run("x", deps={"of": "a"}, tool_choice=lambda ctx: None)
    decisions = {run.pending[0].call_id: Approve()}
    with pytest.raises(ConfigurationError, match="tool_choice="):
        agent.resume(run.to_json(), decisions, deps={"of": "a"})
    again = agent.resume(run.to_json(), decisions, deps={"of": "a"}, tool_choice=lambda ctx: None)
    assert again.text == "Done."
