"""Deferred tools: their results come later, from elsewhere, once, and nobody has to ask twice."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, Approve, Context, Deny, Edit, PendingCall, Result, Tool, ToolDeferred
from agentkit.testing import ScriptedModel, call
from tests.test_approvals import Parked, parked, responses
from tests.ways import Way, either, way

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
    before = run
    run = parked.resume(agent, {run.pending[0].call_id: Approve()})
    assert (run.stop, len(run.pending)) == ("approval", 1)
    if parked.how == "run":  # nothing that was handed to the tool is shared with the run
        assert parked.way.resume(agent, before, {}).pending == before.pending
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
