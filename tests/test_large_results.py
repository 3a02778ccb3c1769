"""Results that are too long for the model at once: cut, kept whole, and read on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentkit import Agent, Hooks, Result, Run, SQLiteStore, ToolDeferred, tool
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import responses_of
from tests.ways import Way, either, way

__all__ = ["either", "way"]

MARK = re.compile(
    r'\.\.\. \[cut: ([\d,]+) of ([\d,]+) characters are missing; read_result\(id="(.*)", offset=(\d+)\)\]$'
)


def outputs(run: Run) -> list[Any]:
    """All responses so far."""
    return [r["response"].get("output") for content in run.contents for r in responses_of(content)]


def read_on(request: Any) -> Any:
    """Do as the mark in the last result says, or answer with the whole."""
    found = MARK.search(responses_of(request["contents"][-1])[-1]["response"]["output"])
    if found:
        return call("read_result", id=found[3], offset=int(found[4]))
    pages = [r["response"]["output"] for content in request["contents"] for r in responses_of(content)]
    return "".join(MARK.sub("", page) for page in pages)


@tool
def later() -> str:
    """Have the result later."""
    raise ToolDeferred("it takes a day")


LONG = "".join(f"line {n}\n" for n in range(300))


@pytest.mark.parametrize("kept", [False, True])
def test_a_long_result_that_a_decision_brings_is_kept_whole(either: Way, tmp_path: Any, kept: bool) -> None:
    agent = Agent(ScriptedModel([call("later")] + [read_on] * 9), tools=[later], max_result_chars=800)
    if not kept:
        run = either.run(agent, "go")
        run = either.resume(agent, run.to_json(), {run.pending[0].call_id: Result(LONG)})
    else:
        with SQLiteStore(tmp_path / "a.db") as store:
            run = either.chat(agent, store).send("go")
            run = either.chat(agent, store).resume({run.pending[0].call_id: Result(LONG)})
    assert run.text == LONG
    assert list(run.results.values()) == [LONG]


def test_a_long_result_is_kept_while_another_call_of_the_turn_goes_on_waiting(
    either: Way, tmp_path: Any
) -> None:
    script = [[call("later"), call("later")]] + [read_on] * 20
    agent = Agent(ScriptedModel(script), tools=[later], max_result_chars=800)
    with SQLiteStore(tmp_path / "a.db") as store:
        chat = either.chat(agent, store)
        first, second = chat.send("go").pending
        assert chat.resume({first.call_id: Result(LONG)}).pending == (second,)
        assert store.result("ann", first.call_id) == LONG
        chat.resume({second.call_id: Result(LONG)})
        assert store.result("ann", second.call_id) == LONG


def test_a_long_result_of_a_hook_before_the_tool_is_kept_whole(way: Way) -> None:
    hooks = Hooks(before_tool=lambda args, ctx: Result(LONG) if ctx.tool_name == "later" else None)
    agent = Agent(
        ScriptedModel([call("later")] + [read_on] * 9), tools=[later], max_result_chars=800, hooks=hooks
    )
    assert way.run(agent, "go").text == LONG
