"""A run that stopped goes on from what it had, in the four ways to run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Limits, Run, tool
from agentkit.testing import ScriptedModel, call, reply
from agentkit.tooling.decisions import Approve

WAYS: dict[str, Callable[..., Run]] = {
    "sync": lambda agent, *args, **options: agent.resume(*args, **options),
    "async": lambda agent, *args, **options: asyncio.run(agent.aio.resume(*args, **options)),
}


@pytest.fixture(params=list(WAYS))
def resume(request: pytest.FixtureRequest, no_thread_left: None) -> Callable[..., Run]:
    return WAYS[request.param]


@tool(effect="write", approval=True)
def order(n: int) -> str:
    """Order."""
    return f"ordered {n}"


def test_a_run_with_decisions_may_make_more_calls_that_wait(resume: Callable[..., Run]) -> None:
    agent = Agent(ScriptedModel([call("order", n=1), call("order", n=2), "done"]), tools=[order])
    first = agent.run("x")
    second = resume(agent, first, {first.pending[0].call_id: Approve()})
    assert (second.stop, second.pending[0].args) == ("approval", {"n": 2})
    assert resume(agent, second.to_json(), {second.pending[0].call_id: Approve()}).text == "done"


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "SAFETY", "BRAND_NEW"])
def test_a_reply_that_was_no_answer_is_asked_for_again_and_never_taken_for_one(
    resume: Callable[..., Run], reason: str
) -> None:
    model = ScriptedModel([reply("half of", finish_reason=reason), "the whole"])
    stopped = Agent(model).run("x")
    assert stopped.stop is not None
    run = resume(Agent(model), stopped)
    assert (run.text, run.stop) == ("the whole", None)
    assert model.requests[0] == model.requests[1]
    assert [content["role"] for content in run.contents] == ["user", "model"]
    assert run.usage.requests == 2


def test_so_is_the_reply_of_a_last_turn_that_came_to_nothing(resume: Callable[..., Run]) -> None:
    script: list[Any] = [call("order", n="no"), reply("This is", finish_reason="SAFETY"), "the whole"]
    agent = Agent(ScriptedModel(script), tools=[order], limits=Limits(turns=1, on_limit="answer"))
    stopped = agent.run("x")
    assert (stopped.stop, stopped.text) == ("turns", "This is")
    assert resume(agent, stopped).text == "the whole"
