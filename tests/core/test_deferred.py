"""Deferred tools: their results come later, from elsewhere, once, and nobody has to ask twice."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    PendingCall,
    Result,
    Tool,
    ToolDeferred,
)
from agentkit.run import Run
from agentkit.testing import ScriptedModel, call
from tests.core.test_approvals import Parked, parked, responses
from tests.helpers.ways import Way, either, way

__all__ = ["either", "parked", "way"]


class Desk:
    """A tool that waits for a signature, with calls of its own that wait."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, list[Any]]] = []

    def sign(self, paper: str, ctx: Context[Any]) -> str:
        """Have a paper signed."""
        said = list(ctx.decisions.values())
        self.calls.append((paper, ctx.resumed, said))
        if said == []:
            waiting = [
                PendingCall(call_id=f"{ctx.call_id}/{n}", name="signature", args={"paper": paper})
                for n in (1, 2)
            ]
            raise ToolDeferred("two signatures", state={"paper": paper, "said": []}, pending=waiting)
        assert ctx.resumed is not None
        ctx.resumed["said"] += [type(each).__name__ for each in said]  # its own to change
        if len(ctx.resumed["said"]) < 2:
            left = [
                PendingCall(call_id=f"{ctx.call_id}/{n}", name="signature", args={})
                for n in (1, 2)
                if f"{ctx.call_id}/{n}" not in ctx.decisions
            ]
            raise ToolDeferred("one signature", state=ctx.resumed, pending=left)
        return f"{paper}: {', '.join(ctx.resumed['said'])}"


def test_arguments_that_were_edited_stay_so_while_the_call_waits(parked: Parked) -> None:
    desk = Desk()
    agent = Agent(
        ScriptedModel([call("sign", paper="A"), "done"]),
        tools=[Tool.of(desk.sign, effect="write", approval=True)],
    )
    run = parked.begin(agent)
    run = parked.resume(agent, {run.pending[0].call_id: Edit({"paper": "B"})})
    assert [each.args for each in run.pending] == [{"paper": "B"}] * 2
    before, written = run, run.to_json()
    run = parked.resume(agent, {run.pending[0].call_id: Approve()})
    assert (run.stop, len(run.pending)) == ("approval", 1)
    if parked.how == "run":  # nothing that was handed to the tool is shared with the run
        again = Run.from_json(written)
        assert parked.way.resume(agent, again, {}).pending == before.pending == again.pending
    run = parked.resume(agent, {run.pending[0].call_id: Deny()})
    assert responses(run)[0]["output"]["result"] == "B: Approve, Deny"
    assert "changed the arguments" in responses(run)[0]["output"]["note"]
    assert [paper for paper, _, _ in desk.calls] == ["B"] * 3


def test_a_deferred_call_keeps_its_edited_arguments_in_pending(parked: Parked) -> None:
    def later(paper: str) -> str:
        """Have it later."""
        raise ToolDeferred

    agent = Agent(ScriptedModel([call("later", paper="A"), "done"]), tools=[Tool.of(later, approval=True)])
    run = parked.begin(agent)
    for _ in range(2):
        said: Any = {run.pending[0].call_id: Edit({"paper": "B"})} if run.stop == "approval" else {}
        run = parked.resume(agent, said)
        assert (run.stop, run.pending[0].args) == ("deferred", {"paper": "B"})
    assert parked.resume(agent, {run.pending[0].call_id: Result(1)}).text == "done"


@pytest.mark.parametrize("state", [{"a": object()}, {"a": float("nan")}, {1, 2}])
def test_a_state_that_cannot_be_kept_is_an_error_of_the_tool(either: Way, state: Any) -> None:
    def later() -> None:
        """Have it later."""
        raise ToolDeferred("why", state=state)

    run = either.run(Agent(ScriptedModel([call("later"), "ok"]), tools=[later]), "go")
    assert run.stop is None
    assert ["JSON" in str(error) for error in run.errors] == [True]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("effect", ["read", "write"])
def test_a_deferred_call_waits_until_its_result_is_there(parked: Parked, kind: str, effect: Any) -> None:
    begun: list[str] = []

    def later(ctx: Context[Any]) -> str:
        """Have it later."""
        begun.append(ctx.call_id)
        raise ToolDeferred("a day")

    async def alater(ctx: Context[Any]) -> str:
        """Have it later."""
        return later(ctx)

    function = Tool.of({"sync": later, "async": alater}[kind], name="later", effect=effect)
    agent = Agent(ScriptedModel([call("later"), "done"]), tools=[function])
    run = parked.begin(agent)
    (waiting,) = run.pending
    assert (run.stop, waiting.kind, waiting.why, begun) == (
        "deferred",
        "deferred",
        "a day",
        [waiting.call_id],
    )
    assert run.errors == ()
    for _ in range(2):  # too early
        run = parked.resume(agent)
        assert (run.stop, run.pending) == ("deferred", (waiting,))
    for wrong in (Approve(), Edit({})):
        with pytest.raises(ConfigurationError, match=r"waits for its result: give Result\(value\) or Deny"):
            parked.resume(agent, {waiting.call_id: wrong})
    run = parked.resume(agent, {waiting.call_id: Result({"score": 1})})
    assert (run.text, responses(run)) == ("done", [{"output": {"score": 1}}])
    assert len(begun) == 1


def test_a_deferred_call_may_come_to_nothing(parked: Parked) -> None:
    def later() -> str:
        """Have it later."""
        raise ToolDeferred

    agent = Agent(ScriptedModel([call("later"), "done"]), tools=[later])
    (waiting,) = parked.begin(agent).pending
    assert waiting.why == "The tool 'later' will have its result later."
    run = parked.resume(agent, {waiting.call_id: Deny("nobody answered")})
    assert responses(run) == [{"error": "A person refused this call: nobody answered"}]


def test_deferred_calls_and_approvals_of_a_turn_are_all_listed_and_settled_in_any_order(
    parked: Parked,
) -> None:
    ran: list[int] = []

    def later(n: int) -> str:
        """Have it later."""
        raise ToolDeferred(f"mail {n}")

    def order(n: int) -> str:
        """Order."""
        ran.append(n)
        return "ordered"

    tools = [Tool.of(later, effect="read"), Tool.of(order, effect="write", approval=True)]
    script = [[call("later", n=1), call("order", n=2), call("later", n=3)], "done"]
    agent = Agent(ScriptedModel(script), tools=tools, on_error="raise")
    run = parked.begin(agent)
    assert (run.stop, [(p.kind, p.why) for p in run.pending]) == (
        "approval",
        [("deferred", "mail 1"), ("approval", "The tool 'order' needs approval."), ("deferred", "mail 3")],
    )
    first, order_id, last = (p.call_id for p in run.pending)
    run = parked.resume(agent, {last: Result("three")})
    assert (run.stop, len(run.pending)) == ("approval", 2)
    run = parked.resume(agent, {order_id: Approve()})
    assert (run.stop, len(run.pending), ran) == ("deferred", 1, [])  # approved, and runs after the first
    run = parked.resume(agent)
    assert (run.stop, len(run.pending), ran) == ("deferred", 1, [])
    run = parked.resume(agent, {first: Result("one")})
    assert responses(run) == [{"output": "one"}, {"output": "ordered"}, {"output": "three"}]
    assert (run.stop, ran) == (None, [2])


def test_a_call_that_was_approved_and_then_deferred_is_not_asked_about_again(parked: Parked) -> None:
    begun: list[int] = []

    def later() -> str:
        """Have it later."""
        begun.append(1)
        raise ToolDeferred("mail")

    agent = Agent(
        ScriptedModel([call("later"), "done"]), tools=[Tool.of(later, effect="write", approval=True)]
    )
    run = parked.begin(agent)
    (waiting,) = run.pending
    run = parked.resume(agent, {waiting.call_id: Approve()})
    assert (run.stop, run.pending[0].call_id) == ("deferred", waiting.call_id)
    run = parked.resume(agent, {waiting.call_id: Result("came")})
    assert (run.text, begun) == ("done", [1])
