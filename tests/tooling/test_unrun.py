"""Declarations without a handler: their calls come back unrun, and the run goes on with their results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.genai import types

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Deny,
    PendingCall,
    Result,
    Run,
    SQLiteStore,
    Tool,
    ToolDeferred,
)
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import responses_of
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DECLARATIONS: dict[str, Any] = {
    "dict": {"name": "weather", "description": "The weather.", "parametersJsonSchema": SCHEMA},
    "OpenAI's": {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}},
    "function_declarations": {"function_declarations": [{"name": "weather", "parameters": SCHEMA}]},
    "types.FunctionDeclaration": types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA),
    "types.Tool": types.Tool(
        function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)]
    ),
}
TWO = [call("weather", city="Paris"), call("weather", city="Rome")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(tmp_path / "chats.db") as store:
        yield store


def answers(run: Run) -> list[Any]:
    return [response["response"] for content in run.contents for response in responses_of(content)]


def asked(declaration: Any, *script: Any) -> Agent:
    return Agent(ScriptedModel(script), tools=[declaration], on_error="raise")


@pytest.mark.parametrize("kind", DECLARATIONS)
def test_calls_without_a_handler_come_back_unrun_and_go_on_with_their_results(way: Way, kind: str) -> None:
    agent = asked(DECLARATIONS[kind], TWO, "Sun and rain.")
    run = way.run(agent, "How is it?")
    assert (run.stop, run.text, run.errors) == ("deferred", "", ())
    assert [(each.name, each.args, each.kind) for each in run.pending] == [
        ("weather", {"city": "Paris"}, "deferred"),
        ("weather", {"city": "Rome"}, "deferred"),
    ]
    assert "resume with its Result" in run.pending[0].why
    first, second = (each.call_id for each in run.pending)
    run = way.resume(agent, run, {second: Result({"sky": "rain"})})
    assert [each.call_id for each in run.pending] == [first]
    run = way.resume(agent, run.to_json(), {first: Result("sun")})
    assert (run.stop, run.text) == (None, "Sun and rain.")
    assert answers(run) == [{"output": "sun"}, {"output": {"sky": "rain"}}]


@pytest.mark.parametrize("kind", DECLARATIONS)
def test_in_a_chat_they_come_back_and_go_on_in_another_process(
    way: Way, store: SQLiteStore, kind: str
) -> None:
    agent = asked(DECLARATIONS[kind], TWO, "Sun.", "You are welcome.")
    run = way.chat(agent, store).send("How is it?")
    assert (run.stop, len(run.pending)) == ("deferred", 2)
    chat = way.chat(agent, store)
    assert [each.args for each in chat.pending] == [{"city": "Paris"}, {"city": "Rome"}]
    run = chat.resume({each.call_id: Result("sun") for each in chat.pending})
    assert (run.stop, run.text, answers(run)) == (None, "Sun.", [{"output": "sun"}] * 2)
    assert way.chat(agent, store).send("Thanks").text == "You are welcome."


def test_a_call_that_does_not_fit_its_declaration_goes_back_to_the_model(either: Way) -> None:
    run = either.run(asked(DECLARATIONS["dict"], call("weather", town="Paris"), "Sorry."), "How is it?")
    assert (run.stop, run.text) == (None, "Sorry.")
    assert "city is required" in answers(run)[0]["error"]


def test_tools_of_the_same_turn_run_and_keep_their_results(either: Way) -> None:
    ran: list[str] = []

    def clock() -> str:
        """Tell the time."""
        ran.append("clock")
        return "noon"

    agent = Agent(
        ScriptedModel([[call("weather", city="Paris"), call("clock")], "ok"]),
        tools=[DECLARATIONS["dict"], clock],
    )
    run = either.run(agent, "go")
    run = either.resume(agent, run, {run.pending[0].call_id: Deny("no network")})
    assert ran == ["clock"]
    assert answers(run) == [{"error": "A person refused this call: no network"}, {"output": "noon"}]


def test_there_is_nothing_to_approve_about_a_call_without_a_handler(either: Way) -> None:
    agent = asked(DECLARATIONS["dict"], call("weather", city="Paris"), "ok")
    run = either.run(agent, "go")
    with pytest.raises(ConfigurationError, match=r"give Result\(value\) or Deny"):
        either.resume(agent, run, {run.pending[0].call_id: Approve()})


def test_a_call_without_a_handler_may_need_approval_first(either: Way) -> None:
    tool = Tool.from_declaration(DECLARATIONS["dict"], approval=True, effect="write")
    agent = asked(tool, call("weather", city="Paris"), "ok")
    run = either.run(agent, "go")
    assert (run.stop, run.pending[0].kind) == ("approval", "approval")
    run = either.resume(agent, run, {run.pending[0].call_id: Approve()})
    assert (run.stop, run.pending[0].kind) == ("deferred", "deferred")
    assert either.resume(agent, run, {run.pending[0].call_id: Result(1)}).text == "ok"


def test_calls_inside_a_sub_agent_come_back_through_the_outer_run(either: Way) -> None:
    inner = asked(DECLARATIONS["dict"], call("weather", city="Paris"), "It is sunny.")
    outer = asked(inner.as_tool(name="helper", description="Helps."), call("helper", request="go"), "Sun.")
    run = either.run(outer, "go")
    assert (run.stop, run.pending[0].name, run.pending[0].path) == ("deferred", "weather", ("agent",))
    assert either.resume(outer, run, {run.pending[0].call_id: Result("sun")}).text == "Sun."


def test_one_handler_for_all_runs_the_calls(either: Way) -> None:
    def handle(ctx: Context, /, **args: Any) -> str:
        return f"{ctx.tool_name}({args['city']})"

    async def ahandle(ctx: Context, /, **args: Any) -> str:
        return handle(ctx, **args)

    for handler in (handle, ahandle):
        run = either.run(asked((DECLARATIONS["types.Tool"], handler), TWO, "ok"), "go")
        assert answers(run) == [{"output": "weather(Paris)"}, {"output": "weather(Rome)"}]


@pytest.mark.parametrize("state", [{"a": 1}, {}])
def test_a_state_without_a_call_to_come_back_for_is_refused(either: Way, state: Any) -> None:
    def later() -> None:
        """Have it later."""
        raise ToolDeferred("why", state=state)

    run = either.run(Agent(ScriptedModel([call("later"), "ok"]), tools=[later]), "go")
    assert run.stop is None
    (error,) = run.errors
    assert isinstance(error, ConfigurationError)
    assert "goes with pending=" in str(error)


def test_a_state_comes_back_with_the_decision_about_a_call(either: Way) -> None:
    def sign(paper: str, ctx: Context) -> str:
        """Have a paper signed."""
        if ctx.resumed is None:
            waiting = PendingCall(call_id=f"{ctx.call_id}/1", name="signature", args={"paper": paper})
            raise ToolDeferred("a signature", state={"paper": paper}, pending=[waiting])
        (said,) = ctx.decisions.values()
        return f"{ctx.resumed['paper']}: {said}"

    agent = Agent(ScriptedModel([call("sign", paper="A"), "ok"]), tools=[sign], on_error="raise")
    run = either.run(agent, "go")
    run = either.resume(agent, run, {run.pending[0].call_id: Approve()})
    assert answers(run) == [{"output": "A: Approve()"}]
