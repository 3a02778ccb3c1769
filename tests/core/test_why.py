"""`Run.why`: whenever a run stops, it says in words why; and of a limit also when there is an answer all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest

from agentkit import (
    Agent,
    AgentError,
    Deny,
    Hooks,
    Limits,
    MemoryStore,
    Output,
    Price,
    Run,
    TokenBudget,
    Tool,
    ToolDeferred,
    ToolError,
)
from agentkit.limits import Stop
from agentkit.testing import ScriptedModel, call, fault, reply
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

PRICES = {"scripted": Price(input=1.0, output=2.0)}


def look() -> str:
    """Look."""
    return "seen"


def later() -> str:
    """Have it later."""
    raise ToolDeferred("the post")


async def waits() -> str:
    """Wait."""
    await asyncio.sleep(5)
    return "x"


def asked(
    *script: Any, tools: Any = (), options: dict[str, Any] | None = None, **settings: Any
) -> Callable[[Way], Any]:
    def run(way: Way) -> Run[Any]:
        return way.run(Agent(ScriptedModel(script), tools=tools, **settings), "x", **(options or {}))

    return run


def finished(reason: str) -> Callable[[Way], Any]:
    return asked(*[reply("x", finish_reason=reason)] * 5)


def not_an_output(value: Any, context: Any) -> Any:
    raise ToolError("a Sunday")


LOOPING: list[Any] = [[call("look")]] * 9
COST = Limits(cost=1e-6, prices=PRICES)
STOPS: dict[str, tuple[Stop, str, Callable[[Way], Any]]] = {
    "turns": ("turns", "limit of 2 turns", asked(*LOOPING, tools=[look], limits=Limits(turns=2))),
    "tool calls": (
        "tool_calls",
        "limit of 1 function calls",
        asked(*LOOPING, tools=[look], limits=Limits(tool_calls=1)),
    ),
    "tokens": ("tokens", "limit of 10 tokens", asked(*LOOPING, tools=[look], limits=Limits(tokens=10))),
    "cost": ("cost", "limit of $1e-06", asked(*LOOPING, tools=[look], limits=COST)),
    "repeats": ("repeats", "very same calls", asked(*LOOPING, tools=[look])),
    "seconds": (
        "seconds",
        "time of the run",
        asked([call("waits")], tools=[waits], limits=Limits(seconds=0.2)),
    ),
    "approval": ("approval", "decision: look", asked([call("look")], tools=[Tool.of(look, approval=True)])),
    "deferred": ("deferred", "come later: later", asked([call("later")], tools=[later])),
    "max tokens": ("max_tokens", "MAX_TOKENS", finished("MAX_TOKENS")),
    "safety": ("refused", "SAFETY", finished("SAFETY")),
    "recitation": ("refused", "RECITATION", finished("RECITATION")),
    "blocked": (
        "refused",
        "SAFETY: not that",
        asked({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "not that"}}),
    ),
    "a denial": (
        "refused",
        "too secret",
        asked("x", hooks=Hooks(before_model=lambda r, c: Deny("too secret"))),
    ),
    "a denial without a word": ("refused", "hook", asked("x", hooks=Hooks(after_model=lambda r, c: Deny()))),
    "malformed": ("malformed", "MALFORMED_FUNCTION_CALL", finished("MALFORMED_FUNCTION_CALL")),
    "empty": ("empty", "STOP", asked(*[""] * 5)),
    "no candidates": ("empty", "NO_CANDIDATES", asked(*[{"candidates": []}] * 5)),
    "no output": ("output", "isn't valid JSON", asked(*["no"] * 5, options={"output": int})),
    "an output that is refused": (
        "output",
        "a Sunday",
        asked('{"result": 3}', options={"output": Output(int, validator=not_an_output)}),
    ),
    "an output that never fits": (
        "output",
        "final_result",
        asked(*[[call("final_result", result="no")]] * 5, options={"output": Output(int, mode="tool")}),
    ),
    "a reason of tomorrow": ("other", "NEW_ONE", finished("NEW_ONE")),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_stops_says_why(way: Way, name: str) -> None:
    stop, word, run_in = STOPS[name]
    run = run_in(way)
    assert run.stop == stop
    assert word in run.why
    again = Run.from_json(run.to_json())
    assert (again.stop, again.why, again.limit) == (run.stop, run.why, run.limit)
    with pytest.raises(AgentError, match="without an answer") as caught:
        run.expect()
    assert run.why in str(caught.value)


def test_a_turn_too_large_for_the_memory_says_why(either: Way) -> None:
    chat = either.chat(Agent(ScriptedModel(["x"])), MemoryStore(), memory=TokenBudget(10))
    run = chat.send("x" * 999)
    assert run.stop == "too_large"
    assert "TokenBudget allows 10" in run.why


def test_a_failure_of_the_model_says_why(way: Way) -> None:
    with pytest.raises(AgentError) as caught:
        asked(fault(400, "no such model"))(way)
    assert (caught.value.run.stop, caught.value.run.limit) == ("error", None)
    assert "no such model" in caught.value.run.why


def test_a_foreign_exception_says_its_kind_and_keeps_its_text() -> None:
    stream = Agent(ScriptedModel([ValueError("sk-hidden")])).stream("x")
    with pytest.raises(ValueError, match="sk-hidden"):
        stream.drain()
    assert stream.run.stop == "error"
    assert "ValueError" in stream.run.why
    assert "sk-hidden" not in stream.run.to_json()


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_is_closed_says_why(begun: bool) -> None:
    with Agent(ScriptedModel(["a b c"])).stream("x") as stream:
        if begun:
            next(stream)
    assert (stream.run.stop, bool(stream.run.why)) == ("cancelled", True)


def test_every_stop_but_that_of_a_crash_is_tried_here() -> None:
    tried = {stop for stop, _, _ in STOPS.values()} | {"too_large", "error", "cancelled"}
    assert set(get_args(Stop)) - tried == {"unknown_effect"}


def test_an_answer_after_a_limit_says_which_it_was(way: Way) -> None:
    run = asked([call("look")], "done", tools=[look], limits=Limits(turns=1, on_limit="answer"))(way)
    assert (run.stop, run.limit, run.text) == (None, "turns", "done")
    assert "limit of 1 turns" in run.why


def test_an_answer_says_nothing(way: Way) -> None:
    run = asked([call("look")], "done", tools=[look])(way)
    assert (run.stop, run.limit, run.why) == (None, None, "")


def test_why_a_sub_agent_stopped_is_told_to_who_called_it(way: Way) -> None:
    inner = Agent(ScriptedModel(LOOPING), name="inner", tools=[look], limits=Limits(turns=1))
    run = asked([call("inner", request="?")], "done", tools=[inner.as_tool()])(way)
    assert "The limit of 1 turns is reached" in str(run.contents)
